"""Figures of the results that pages show; they are kept with the results alone."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SHOWN = (
    "quickstart/accuracy.png",
    "quickstart/accuracy_dark.png",
    "paper/overview.png",
    "gap/gap.png",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the figures to the files of the site."""
    for name in SHOWN:
        place = f"assets/{Path(name).name}"
        source = str(RESULTS / name)
        files.append(File.generated(config, place, abs_src_path=source))
    return files
