from __future__ import annotations

from pathlib import Path

import pytest

from fcbench.config import LONGEST, FolderPeople, Recipe, WorldPeople, load_suites, load_yaml, names, shipped
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.shares import share_of
from fcbench.world import draw_person

SUITE = """\
name: tiny
subjects: {source: world, first: 1000000, count: 3, photos: 2}
group: 1
prompts:
  - {id: snow, kind: context, text: "{} in the snow"}
  - {id: red-hat, kind: accessory, text: "{} wearing a red hat"}
seeds: [0, 1]
"""


def write(folder: Path, text: str, name: str = "tiny.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_suite_is_read_from_a_path(tmp_path: Path) -> None:
    (suite,) = load_suites(write(tmp_path, SUITE))
    assert (suite.name, suite.stack, suite.group, suite.seeds) == ("tiny", "mini", 1, (0, 1))
    assert [prompt.id for prompt in suite.prompts] == ["snow", "red-hat"]
    assert suite.subjects == WorldPeople(source="world", first=1_000_000, count=3, photos=2)


def test_a_suite_says_what_it_is_found_by(tmp_path: Path) -> None:
    path = write(tmp_path, SUITE)
    (own,), (shipped_one,) = load_suites(path), load_suites("mini-pair")
    assert (own.asked_as, shipped_one.asked_as) == (str(path), "mini-pair")
    write(tmp_path, "name: both\nsuites: [tiny, mini-single]\n", "both.yaml")
    assert [suite.asked_as for suite in load_suites(tmp_path / "both.yaml")] == [str(path), "mini-single"]


def test_a_folder_of_photos_is_else_looked_for_in_the_working_folder() -> None:
    (suite,) = load_suites("celeba-single")
    assert isinstance(suite.subjects, FolderPeople)
    assert suite.subjects.path == Path("celeba")


def test_a_folder_of_photos_is_found_beside_the_suite(tmp_path: Path) -> None:
    source = "subjects: {source: folder, path: people, nouns: {ann: woman}}"
    (tmp_path / "people").mkdir()
    (suite,) = load_suites(write(tmp_path, SUITE.replace(SUITE.splitlines()[1], source)))
    assert isinstance(suite.subjects, FolderPeople)
    assert suite.subjects.path == tmp_path / "people"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("group:", "gruop:", "unknown key 'gruop': did you mean group?"),
        ("photos:", "photo:", "unknown key 'subjects.photo': did you mean photos?"),
        ("kind: context", "knd: context", "unknown key 'prompts.0.knd': did you mean kind?"),
        ("name: tiny\n", "", "the key 'name' is missing"),
        ("count: 3, ", "", "the key 'subjects.count' is missing"),
        ("count: 3", "count: 0", "subjects.count: Input should be greater than or equal to 1"),
        ("name: tiny", "name: Tiny Suite", "name: expected small letters and digits, hyphens between"),
        ("name: tiny", "name: on", "name: Input should be a valid string; YAML reads it as True: put it in quotes"),
        ("{} in the snow", "in the snow", "prompt 'snow' must hold {} once"),
        ("{} in the snow", "{} and {}", "prompt 'snow' must hold {} once"),
        ("{} in the snow", "{}s in the snow", "prompt 'snow': a letter right behind {} makes another word"),
        ("id: red-hat", "id: snow", "prompts: 'snow' is there twice"),
        ("id: red-hat", "id: ../hat", "prompt id '../hat' must be kebab-case"),
        ("[0, 1]", "[0, 0]", "seeds: 0 is there twice"),
        ("[0, 1]", "[]", "seeds: expected 1 at least, found 0"),
        ("[0, 1]", "3", "seeds: expected a list"),
        ("source: world", "source: nowhere", "subjects: expected one of 'world', 'folder', found 'nowhere'"),
        ("[0, 1]", "[9223372036854775808]", "seeds.0: Input should be less than 9223372036854775808"),
        ("group: 1", "group: 2", "group: 2 needs pairs"),
        ("group: 1", "pairs: 2", "pairs are of group: 2, which is 1 here"),
        ("group: 1", "group: 2\npairs: 4", "3 subjects make 3 pairs, not 4"),
        ("group: 1", "group: 3", "group: 3 needs trios"),
        ("group: 1", "group: 3\ntrios: 2", "3 subjects make 1 trios, not 2"),
    ],
)
def test_a_wrong_suite_is_refused_with_its_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, SUITE.replace(old, new))
    with pytest.raises(UsageError) as error:
        load_suites(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ("{Ann Smith: woman}", "subjects.nouns: 'Ann Smith': name a person's folder with letters (a-z), digits"),
        ("{b+o: man}", "subjects.nouns: 'b+o': name"),
        ("{ann: ''}", "subjects.nouns: 'ann' has no class word: say what prompts call them"),
        ("{ann: ' '}", "subjects.nouns: 'ann' has no class word"),
        (f"{{{'a' * 230}: woman}}", "have a name of 240 characters, 236 are the most: shorten the prompt id 'red-hat'"),
    ],
)
def test_people_that_a_run_could_not_draw_are_refused_when_the_suite_is_read(
    tmp_path: Path, people: str, message: str
) -> None:
    source = f"subjects: {{source: folder, path: people, nouns: {people}}}"
    path = write(tmp_path, SUITE.replace(SUITE.splitlines()[1], source))
    with pytest.raises(UsageError) as error:
        load_suites(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_a_drawn_suite_s_pictures_are_as_long_in_name_as_its_people_s_ids_make_them(tmp_path: Path) -> None:
    suite = SUITE.replace("first: 1000000", "first: 0")
    fits = "a" * (LONGEST - len(f"{draw_person(2).id}..1"))
    assert len(load_suites(write(tmp_path, suite.replace("id: snow", f"id: {fits}")))) == 1
    with pytest.raises(UsageError, match=f"a name of {LONGEST + 1} characters"):
        load_suites(write(tmp_path, suite.replace("id: snow", f"id: {fits}a")))


@pytest.mark.parametrize("text", ["name: [1", "\tname: x", "\0", "name: !!python/object:os.system x"])
def test_broken_yaml_is_told_in_one_line_with_the_file(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        load_suites(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="not valid YAML"):
        load_suites(tmp_path / "tiny.yaml")


def test_a_list_is_not_a_suite(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected keys and values"):
        load_suites(write(tmp_path, "- 1"))


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean mini-single"):
        load_suites("mini-singel")


def test_a_name_whose_file_lies_here_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SUITE, "friends.yaml")
    with pytest.raises(UsageError, match=r"no 'friends' in datasets/suites: for the file here say friends\.yaml$"):
        load_suites("friends")


def test_a_path_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_suites(tmp_path / "none.yaml")


def test_a_collection_gives_its_suites_in_order(tmp_path: Path) -> None:
    write(tmp_path, SUITE.replace("name: tiny", "name: b"), "b.yaml")
    write(tmp_path, SUITE.replace("name: tiny", "name: a"), "a.yaml")
    found = load_suites(write(tmp_path, "name: both\nsuites: [b, a, mini-single]", "both.yaml"))
    assert [suite.name for suite in found] == ["b", "a", "mini-single"]


def test_a_collection_that_holds_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds itself"):
        load_suites(write(tmp_path, "name: tiny\nsuites: [tiny]"))


@pytest.mark.parametrize("name", names("suites"))
def test_every_shipped_suite_is_valid_and_named_like_its_file(name: str) -> None:
    suites = load_suites(name)
    assert name in {suite.name for suite in suites} or all(suite.name.startswith(name) for suite in suites)


def test_shipped_suites_draw_test_people_and_families_share_none() -> None:
    families: dict[str, set[int]] = {
        name: set() for name in ("mini-demo", "mini-full", "mini-single", "mini-fresh-single")
    }
    for family, people in families.items():
        for suite in load_suites(family):
            assert isinstance(suite.subjects, WorldPeople)
            people |= set(range(suite.subjects.first, suite.subjects.first + suite.subjects.count))
    everybody = [person for people in families.values() for person in people]
    assert len(everybody) == len(set(everybody))
    assert min(everybody) >= 1_000_000
    assert max(everybody) < 2_000_000


def test_the_fresh_suites_share_no_prompt_with_those_that_weights_and_presets_were_chosen_by() -> None:
    def prompts(*suites: str) -> set[str]:
        return {prompt.id for name in suites for suite in load_suites(name) for prompt in suite.prompts}

    assert not prompts("mini-fresh") & prompts("mini-demo", "mini-single", "mini-pair", "mini-full", "mini-trio")


def test_the_sizes_of_the_shipped_suites_are_as_documented() -> None:
    readme = (shipped("datasets") / "README.md").read_text()
    for name, text in {
        "mini-demo": "48 + 36",
        "mini-single": "288",
        "mini-pair": "192",
        "mini-trio": "128",
        "mini-full": "2400 + 3200",
        "mini-fresh": "288 + 192",
    }.items():
        cases = []
        for suite in load_suites(name):
            assert isinstance(suite.subjects, WorldPeople)
            cases.append(suite.groups * len(suite.prompts) * len(suite.seeds))
        assert " + ".join(map(str, cases)) == text
        assert f"| {text} |" in readme


def test_the_package_in_a_wheel_carries_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fcbench" / "_data" / "datasets").mkdir(parents=True)
    monkeypatch.setattr("fcbench.config.__file__", str(tmp_path / "fcbench" / "config.py"))
    assert shipped("datasets") == tmp_path / "fcbench" / "_data" / "datasets"
    assert shipped("reports") == tmp_path / "reports"


def test_a_recipe_has_the_values_of_the_paper_unless_told(tmp_path: Path) -> None:
    recipe = load_yaml(write(tmp_path, "name: mine\nsteps: 10"), Recipe, "recipes")
    assert (recipe.steps, recipe.batch_size, recipe.learning_rate, recipe.text_only) == (10, 128, 1e-5, 0.1)


def test_a_probability_above_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unconditional: Input should be less than or equal to 1"):
        load_yaml(write(tmp_path, "name: mine\nunconditional: 1.5"), Recipe, "recipes")


def test_what_is_no_pattern_of_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"oversample: 'a \(hat' is no pattern: missing \), unterminated subpattern"):
        load_yaml(write(tmp_path, "name: mine\noversample: {a (hat: 2}"), Recipe, "recipes")


def test_the_recipe_for_few_photos_goes_on_from_the_published_weights_and_fits_one_gpu_or_eight() -> None:
    recipe = load_yaml("sd15-more", Recipe, "recipes")
    assert (recipe.stack, recipe.start) == ("sd15", "mit-han-lab/fastcomposer")
    assert [share_of(recipe, gpus) for gpus in (1, 2, 4, 8)] == [8, 4, 2, 1]


@pytest.mark.parametrize("name", names("recipes"))
def test_every_shipped_recipe_is_valid_and_named_like_its_file(name: str) -> None:
    assert load_yaml(name, Recipe, "recipes").name == name


def test_a_key_that_is_there_twice_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, SUITE + "name: other\n")
    with pytest.raises(DataError, match=rf"^{path}, line \d+: not valid YAML \(the key 'name' is there twice\)$"):
        load_suites(path)


def test_negative_seeds_are_seeds(tmp_path: Path) -> None:
    (suite,) = load_suites(write(tmp_path, SUITE.replace("[0, 1]", "[-1, 1]")))
    assert suite.seeds == (-1, 1)
