"""The page in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from fcbench.images import read_image
from fcbench.report import write_report
from tests.unit.fake_runs import fake_suite

pytestmark = pytest.mark.browser

PROBE = """<script>
addEventListener("load", () => {
  const images = [...document.images];
  const plots = [...document.querySelectorAll("svg.plot")];
  const report = {
    images: images.length,
    broken: images.filter((image) => !image.naturalWidth || !image.clientWidth).length,
    plots: plots.filter((plot) => plot.getBoundingClientRect().height > 100).length,
    rows: document.querySelectorAll("#leaderboard ~ section tbody tr").length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
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
    fake_suite(out, people=6)
    return write_report(out, "fake-single")


def chromium(page: Path, *arguments: str) -> str:
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run([*command, profile, *arguments, page.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_shows_every_picture_plot_and_row_and_does_not_overflow(page: Path, width: int) -> None:
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    found = re.search(r'<pre id="probe">(.*?)</pre>', chromium(probed, f"--window-size={width},2000", "--dump-dom"))
    assert found is not None
    seen = json.loads(unescape(found[1]))
    assert seen.pop("images") >= 12 * 6
    assert seen == {"broken": 0, "plots": 2, "rows": 6 + 2 * 4, "overflow": 0}


@pytest.mark.parametrize(("theme", "is_dark"), [("", False), ("--force-dark-mode", True)])
def test_the_page_follows_the_readers_theme(page: Path, theme: str, is_dark: bool) -> None:
    shot = page.with_name(f"shot{is_dark}.png")
    chromium(page, "--window-size=1000,1200", f"--screenshot={shot}", *([theme] if theme else []))
    picture = read_image(shot)
    assert (np.median(picture) < 128) == is_dark
    assert picture.std() > 10
