"""The dataset's page in a real browser: what it shows, and judging by key."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcbench.build import build_data
from fcbench.build.page import write_page
from fcbench.files import write_image
from fcbench.images import read_image
from fcbench.masks import encode_mask
from fcbench.stacks import load_stack
from fcbench.store import data_folder
from tests.toys.build_toys import stack_file

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

EVIL = '<img src=x onerror="document.title=1"></script><script>document.title=1</script>'
PROBE = """<script>
addEventListener("load", () => {
  const press = (key) => dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  for (const key of "yyyyyyyyn") press(key);
  document.querySelector('.card[data-judged]:nth-of-type(10) button[data-verdict="unsure"]').click();
  const judged = [...document.querySelectorAll(".card[data-judged]")];
  judged[12].querySelector("button").dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
  press("u");
  const pressed = (card, state) =>
    [...card.querySelectorAll(`button[aria-pressed="${state}"]`)].map((button) => button.textContent);
  const masks = [];
  for (let times = 0; times < 2; times += 1) {
    document.querySelector("#masks kbd").click();
    masks.push([document.body.classList.contains("bare"), document.getElementById("masks").ariaPressed]);
  }
  press("m");
  const images = [...document.images];
  const report = {
    title: document.title,
    broken: images.filter((image) => !image.naturalWidth).length,
    photos: document.querySelectorAll(".card[data-judged] img:not(.over)").length,
    hidden: [...document.querySelectorAll(".over")].every((image) => getComputedStyle(image).display === "none"),
    verdicts: [...document.querySelectorAll(".card[data-judged]")].slice(0, 11).map((card) => card.dataset.verdict),
    tabbed: judged[12].dataset.verdict,
    masks: masks,
    pressed: [0, 8, 9, 10].map((n) => pressed(judged[n], true)),
    unpressed: pressed(judged[10], false).length,
    interval: document.getElementById("interval").textContent,
    precision: document.getElementById("precision").textContent,
    judged: document.getElementById("judged").textContent,
    reasons: [...document.querySelectorAll("summary code")].map((code) => code.textContent),
    evil: document.body.textContent.includes("onerror"),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = JSON.stringify(report);
  document.body.append(probe);
});
</script>"""


def photo(folder: Path, number: int, people: int, caption: str | None = None) -> None:
    """Noise with people in it, who hold together by a caption."""
    image = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
    masks = [np.zeros((60, 80), bool) for _ in range(people)]
    for place, mask in enumerate(masks):
        mask[10:50, 4 + 25 * place : 22 + 25 * place] = True
    text = " and ".join(["a man"] * people) + " on a beach" if caption is None else caption
    sidecar = {
        "caption": text,
        "people": [{"mask": encode_mask(mask)} for mask in masks],
        "licence": {"author": EVIL, "licence": "CC-BY-4.0"},
    }
    write_image(folder / f"{number:03d}.png", image)
    (folder / f"{number:03d}.json").write_text(json.dumps(sidecar))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    for number in range(24):
        photo(out / "in", number, 1 + number % 3)
    photo(out / "in", 30, 1, caption=f"a hat {EVIL}")
    photo(out / "in", 31, 1, caption="")
    photo(out / "in", 32, 1, caption=f"a man {EVIL}")
    (out / "in" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    build_data(out, source=str(out / "in"), name="mine", stack=load_stack(str(stack_file(out))), progress=None)
    return write_page(data_folder(out, "mine"), samples=30)


def chromium(page: Path, *arguments: str) -> str:
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    profile = f"--user-data-dir={page.parent / f'profile-{page.stem}'}"
    done = subprocess.run([*command, profile, *arguments, page.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout


def probe(page: Path, width: int) -> dict[str, Any]:
    probed = page.with_name(f"probed{width}.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    probed.write_text(text.replace("</body>", f"{PROBE}</body>"))
    found = re.search(
        r'<pre id="probe">(.*?)</pre>', chromium(probed, f"--window-size={width},2000", "--dump-dom"), re.S
    )
    assert found is not None
    seen: dict[str, Any] = json.loads(unescape(found[1]))
    return seen


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_shows_photos_takes_verdicts_and_tells_the_precision(page: Path, width: int) -> None:
    seen = probe(page, width)
    assert seen["title"] == "mine · fcbench dataset"
    assert seen["broken"] == 0
    assert seen["photos"] == 25
    assert seen["hidden"]
    assert seen["verdicts"] == ["right"] * 8 + ["wrong", "unsure", ""]
    assert seen["tabbed"] == "unsure"
    assert seen["masks"] == [[True, "true"], [False, "false"]]
    assert seen["pressed"] == [["right"], ["wrong"], ["unsure"], []]
    assert seen["unpressed"] == 3
    assert seen["judged"] == "9 judged, 8 right, of 25"
    assert seen["precision"] == "88.9 %"
    assert seen["interval"] == "95 % interval 56.5 % to 98.0 %"
    assert set(seen["reasons"]) == {"no_match", "caption_empty", "not_an_image"}
    assert seen["evil"]
    assert seen["overflow"] == 0


def test_the_page_s_own_rules_let_its_script_run_and_no_other(page: Path) -> None:
    told = chromium(page, "--dump-dom")
    assert "0 judged, 0 right, of 25" in told
    other = page.with_name("other.html")
    other.write_text(page.read_text().replace("</body>", "<script>document.title = 'ran'</script></body>"))
    assert "<title>ran</title>" not in chromium(other, "--dump-dom")
    text = page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "<img src=x" not in text


@pytest.mark.parametrize(("theme", "is_dark"), [("", False), ("--force-dark-mode", True)])
def test_the_page_follows_the_readers_theme(page: Path, theme: str, is_dark: bool) -> None:
    shot = page.with_name(f"shot{is_dark}.png")
    chromium(page, "--window-size=1000,1200", f"--screenshot={shot}", *([theme] if theme else []))
    picture = read_image(shot)
    assert (np.median(picture) < 128) == is_dark
    assert picture.std() > 10
