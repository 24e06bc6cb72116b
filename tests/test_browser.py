"""The report page in a browser: no errors, all figures visible."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import test_every_kind
import test_upkeep_study
import tiny_study

from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.report import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
DARK = "--blink-settings=preferredColorScheme=0"
PROBE = """<script>
addEventListener("load", () => {
  const found = [...document.images].map(i => {
    const box = i.getBoundingClientRect();
    return {alt: i.alt, own: i.naturalWidth, width: box.width, height: box.height};
  });
  const code = document.createElement("pre");
  code.id = "probe";
  code.textContent = JSON.stringify(found);
  document.body.append(code);
  const copied = document.createElement("pre");
  copied.id = "copied";
  copied.textContent = asText(document.querySelector("table"));
  document.body.append(copied);
});
</script>"""


def browse(tmp_path, page, *words):
    """Output and log of a browser that opens a page."""
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--disable-background-networking", "--window-size=1100,4600"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"),
            *words,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout, done.stderr


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed"
)
FIGURES = {
    "strategies": 4, "devices": 4, "sensitivity": 2, "sweep": 1, "pareto": 2,
    "upkeep": 1,
}  # fmt: skip
CONFIGS = test_every_kind.KINDS | {
    "strategies": tiny_study.CONFIG, "upkeep": test_upkeep_study.CONFIG
}  # fmt: skip


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("kind", FIGURES)
def test_page_opens_without_errors_and_shows_its_figures(kind, tmp_path, monkeypatch):
    """In its light, dark and printed look; on a phone nothing is wider than the screen.

    Figures are seen at a size that can be read, and have words for what they show.
    """
    tiny_study.use(monkeypatch)
    out = tmp_path / "out"
    run.run(run.prepare(validate(CONFIGS[kind]), out=out))
    page = report.write_report(out)
    assert page.stat().st_size < 2e6
    _looks(tmp_path, page)

    probed = tmp_path / "probed.html"
    html = page.read_text()
    probed.write_text(html.replace("</body>", PROBE + "</body>"))
    dom, log = browse(tmp_path, probed, "--dump-dom")
    assert "CONSOLE" not in log, log
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)[1])
    copied = re.search(r'<pre id="copied">(.*?)</pre>', dom, re.S)[1]
    assert len(found) == html.count("<img") == FIGURES[kind]
    if kind == "strategies":
        assert "lsp_first\t" in copied and "± " in copied.splitlines()[0]
    for image in found:
        assert image["alt"], image
        assert min(image["own"], image["width"], image["height"]) > 200, image
    phone = tmp_path / "phone.html"
    phone.write_text(PHONE.format(page=probed.name))
    dom, _ = browse(tmp_path, phone, "--dump-dom", "--allow-file-access-from-files")
    assert re.search(r'<pre id="wide">(-?\d+)</pre>', dom)[1] == "0"


PHONE = """<style>iframe {{ width: 390px; height: 900px; border: 0; }}</style>
<iframe src="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const found = document.createElement("pre");
  found.id = "wide";
  const page = document.querySelector("iframe").contentDocument.documentElement;
  found.textContent = page.scrollWidth - page.clientWidth;
  document.body.append(found);
}});
</script>"""


def _looks(tmp_path, page):
    """Pictures of a page in all of its looks: pages that are there, in their colors."""
    import matplotlib.image

    picture = tmp_path / "page.png"
    for look, words in (("light", ()), ("dark", (DARK,))):
        _, log = browse(tmp_path, page, f"--screenshot={picture}", *words)
        assert "CONSOLE" not in log, log
        pixels = matplotlib.image.imread(picture)[..., :3]
        assert pixels.shape[1] == 1100
        if look == "light":
            rows = np.ptp(pixels.reshape(len(pixels), -1), axis=1) > 0.5
            assert rows.mean() > 0.2  # text and lines, not an empty page
            assert np.median(pixels) > 0.95
        else:  # figures, too
            pixels = pixels[:, :1000]
            assert np.median(pixels) < 0.2 and np.mean(pixels > 0.95) < 0.05
    paper = tmp_path / "page.pdf"
    browse(tmp_path, page, f"--print-to-pdf={paper}")
    assert paper.read_bytes()[:5] == b"%PDF-"


@pytest.mark.slow
@needs_browser
def test_the_log_would_show_an_error(tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<script>throw new Error('broken')</script>")
    _, log = browse(tmp_path, page, "--dump-dom")
    assert "CONSOLE" in log and "broken" in log
