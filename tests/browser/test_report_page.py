"""The page in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcbench.images import read_image
from fcbench.report import write_report
from tests.unit.fake_runs import rich_suite

pytestmark = pytest.mark.browser

PROBE = """<script>
addEventListener("load", () => {
  const visible = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.getClientRects().length);
  for (const image of document.images) image.loading = "eager";
  const names = () => visible(".ranking tbody:first-of-type td.method").map((cell) => cell.dataset.value);
  const before = names();
  const heading = [...document.querySelectorAll(".ranking th button")].find((b) => b.textContent.startsWith("prompt"));
  heading.click();
  const sorted = names();
  heading.click();
  const reversed = names();
  const form = document.getElementById("filter");
  const pick = (field, value) => {
    form.elements[field].value = value;
    form.dispatchEvent(new Event("change"));
    const shown = visible(".exhibit").length;
    form.elements[field].value = "";
    form.dispatchEvent(new Event("change"));
    return shown;
  };
  const report = {
    broken: [...document.images].filter((image) => !image.naturalWidth).length,
    plots: visible("svg.plot").filter((plot) => plot.getBoundingClientRect().height > 100).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    exhibits: visible(".exhibit").length,
    filtered: [pick("subject", "p001"), pick("kind", "style"), pick("problem", "no picture")],
    told: document.getElementById("told").textContent,
    unlabelled: visible("button, select, input, a").filter((e) => !(e.textContent.trim() || e.labels?.length)).length,
    before, sorted, reversed,
  };
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = JSON.stringify(report);
  document.body.append(probe);
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    rich_suite(out, people=7)
    return write_report(out, "rich-pair")


def chromium(page: Path, *arguments: str) -> str:
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run([*command, profile, *arguments, page.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module", params=[1280, 500])
def seen(request: pytest.FixtureRequest, page: Path) -> dict[str, Any]:
    """What a browser of that width makes of the page; its policy is taken out, as it would stop the probe."""
    probed = page.with_name("probed.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    probed.write_text(text.replace("</body>", f"{PROBE}</body>"))
    window = f"--window-size={request.param},2000"
    found = re.search(r'<pre id="probe">(.*?)</pre>', chromium(probed, window, "--dump-dom"))
    assert found is not None
    report: dict[str, Any] = json.loads(unescape(found[1]))
    return report


def test_every_picture_and_plot_is_there_and_nothing_overflows(seen: dict[str, Any]) -> None:
    assert (seen["broken"], seen["plots"], seen["overflow"], seen["unlabelled"]) == (0, 5, 0, 0)


def test_a_heading_sorts_its_table_down_and_then_up(seen: dict[str, Any]) -> None:
    assert seen["before"][0] == "fastcomposer"
    assert seen["sorted"][0] == "stable-diffusion"
    assert seen["reversed"] == seen["sorted"][::-1]


def test_pictures_are_filtered_by_person_kind_and_failure(seen: dict[str, Any]) -> None:
    assert seen["exhibits"] > 12
    assert all(0 < shown < seen["exhibits"] for shown in seen["filtered"]), seen["filtered"]
    assert seen["filtered"][2] == 1
    assert seen["told"] == f"{seen['exhibits']} of {seen['exhibits']} cases shown"


def test_the_pages_policy_lets_its_own_script_run_and_no_other(page: Path) -> None:
    text = page.read_text().replace("</body>", "<script>document.title = 'broken into'</script></body>")
    attacked = page.with_name("attacked.html")
    attacked.write_text(text)
    dom = chromium(attacked, "--dump-dom")
    assert "cases shown</p>" in dom
    assert "<title>broken into" not in dom


@pytest.mark.parametrize(("theme", "is_dark"), [("", False), ("--force-dark-mode", True)])
def test_the_page_follows_the_readers_theme(page: Path, theme: str, is_dark: bool) -> None:
    shot = page.with_name(f"shot{is_dark}.png")
    chromium(page, "--window-size=1000,1200", f"--screenshot={shot}", *([theme] if theme else []))
    picture = read_image(shot)
    assert (np.median(picture) < 128) == is_dark
    assert picture.std() > 10
