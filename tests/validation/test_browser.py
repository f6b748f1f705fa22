"""The report in a real browser: everything is there, nothing is fetched, nothing overlaps, nothing is blank."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

from calczoo_validation import validate

from .conftest import NoStress, Wrapped, cubic_only

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Written into a copy of the page: sizes of boxes, for what cannot be seen in the text.
PROBE = """<script>
window.addEventListener("load", () => {
  const wide = [...document.querySelectorAll("main *")].filter(e => {
    const r = e.getBoundingClientRect();
    return r.width > 0 && r.right > document.documentElement.clientWidth + 1 && !e.closest(".wide, svg");
  }).map(e => e.tagName + "." + e.className);
  const cards = [...document.querySelectorAll(".card")].map(e => e.getBoundingClientRect());
  let overlaps = 0;
  for (let i = 0; i < cards.length; i++) for (let j = i + 1; j < cards.length; j++) {
    const a = cards[i], b = cards[j];
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) overlaps++;
  }
  const broken = [...document.querySelectorAll('a[href^="#"]')]
    .filter(a => !document.getElementById(a.getAttribute("href").slice(1))).map(a => a.getAttribute("href"));
  const tiny = [...document.querySelectorAll("figure svg")].filter(e => e.getBoundingClientRect().width < 150).length;
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({wide: wide.slice(0, 5), overlaps, broken, tiny, cards: cards.length,
    requests: performance.getEntriesByType("resource").map(r => r.name)});
  document.body.append(out);
});
</script>"""


def browser() -> str:
    path = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        pytest.skip(f"no browser on this machine (looked for {', '.join(NAMES)} and the environment variable CHROME)")
    return path


def run(page: Path, *arguments: str, width: int = 1500, height: int = 1200) -> str:
    """The browser's output. No network: every host resolves to nothing."""
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={page.parent / 'profile'}",
        f"--window-size={width},{height}", "--virtual-time-budget=5000", *arguments, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    four = {"EMT": EMT(), "no stress, with a rather long name to wrap": NoStress(),
            "cubic only": Wrapped(change=cubic_only), "EMT again": EMT()}  # fmt: skip
    out = {}
    for name, calculators in (("one", {"EMT": EMT()}), ("four", four)):
        report = validate(calculators, proto="Cu:fcc", properties=["eos", "elastic"], mode="smoke",
                          progress=False)  # fmt: skip
        out[name] = report.save(folder / name)
    return out


@pytest.mark.parametrize("name", ["one", "four"])
@pytest.mark.parametrize("width", [600, 1500])
def test_page_is_complete_and_fits_in_a_browser(pages, tmp_path, name, width):
    import json

    page = tmp_path / "probe.html"
    page.write_text(pages[name].read_text().replace("</body>", PROBE + "</body>"))
    dom = run(page, "--dump-dom", width=width)
    for word in ("How to read this", "Coverage", "Elastic tensor", "Equation of state", "References checked"):
        assert word in dom
    assert dom.count("<svg") >= (3 if name == "one" else 4)
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)[1].replace("&amp;", "&"))
    assert found["requests"] == []
    assert found["broken"] == [] and found["overlaps"] == 0 and found["tiny"] == 0
    assert found["wide"] == []
    assert found["cards"] >= 7


@pytest.mark.parametrize("name", ["one", "four"])
def test_page_is_not_blank(pages, tmp_path, name):
    from matplotlib.image import imread

    picture = tmp_path / "page.png"
    run(pages[name], f"--screenshot={picture}", height=2000)
    grey = imread(picture)[..., :3].mean(axis=2)
    assert grey.shape[1] == 1500
    rows = np.array([np.ptp(row) > 0.3 for row in grey])
    assert rows.mean() > 0.4  # text and lines nearly everywhere
    assert len(np.unique(np.round(grey, 2))) > 30


def test_page_prints_on_paper(pages, tmp_path):
    pdf = tmp_path / "page.pdf"
    run(pages["four"], f"--print-to-pdf={pdf}")
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 20_000
