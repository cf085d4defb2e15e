"""The miniature world: a drawn world of people whose truth is known (numpy and Pillow only)."""

from fcbench.world.captions import Caption, describe, portray, tell, traits, traits_in
from fcbench.world.people import TEST_PEOPLE, TRAIN_PEOPLE, Person, draw_person
from fcbench.world.render import FigureTruth, Render, render
from fcbench.world.scenes import Figure, Scene, draw_scene, portrait, snapshot
from fcbench.world.vocabulary import PROMPTS, WorldPrompt

__all__ = [
    "PROMPTS",
    "TEST_PEOPLE",
    "TRAIN_PEOPLE",
    "Caption",
    "Figure",
    "FigureTruth",
    "Person",
    "Render",
    "Scene",
    "WorldPrompt",
    "describe",
    "draw_person",
    "draw_scene",
    "portrait",
    "portray",
    "render",
    "snapshot",
    "tell",
    "traits",
    "traits_in",
]
