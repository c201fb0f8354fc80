"""Run the notebooks in order under a profile, and export them as one report.

    python run.py demo
    python run.py profiles/course.yaml -p EPOCHS 5 --name mine
    python run.py course --only 03
    python run.py course --search          # in a second terminal: shares the work on the trials

Parameters are checked against the notebooks before anything runs. What a run has finished is used again when neither
its parameters nor its images have changed.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import nbformat
import papermill
import yaml
from jinja2 import DictLoader
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image
from pygments.formatters import HtmlFormatter

import experiments
import helpers
import image_data
import model_search

NOTEBOOKS = helpers.ROOT / "notebooks"
PROFILES = helpers.ROOT / "profiles"

# ---------------------------------------------------------------------------------------- parameters


def notebook_parameters(path: Path) -> dict[str, object]:
    """{name: default} of the cell tagged `parameters` of a notebook: literals only (papermill's own look-up misses some)."""
    cells = nbformat.read(path, as_version=4).cells
    source = next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(source).body}


def read_profile(name: str) -> dict[str, object]:
    """The parameters of a profile: the name of a file in profiles/, or a path. Raises ValueError."""
    path = next((path for path in (Path(name), PROFILES / f"{name}.yaml") if path.is_file()), None)
    if path is None:
        legal = sorted(file.stem for file in PROFILES.glob("*.yaml"))
        raise ValueError(f"There is no profile {name!r}: {helpers.nearest(name, legal)}")
    profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(profile, dict):
        raise ValueError(f"The profile {path} holds no parameters: it takes lines like 'EPOCHS: 4'.")
    return {"RUN": path.stem} | profile


def parse_value(text: str, default: object) -> object:
    """The value of `-p NAME text`, as the type of the default where that is text, else as a Python or YAML literal."""
    if isinstance(default, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def check_types(given: Mapping[str, object], defaults: Mapping[str, object]) -> None:
    """Raise ValueError for a parameter that no notebook declares, or whose type is not that of its default."""
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f"No notebook has a parameter {name!r}: {helpers.nearest(name.upper(), defaults)}")
        wanted = type(defaults[name])
        kinds = (int, float) if wanted is float else wanted
        fits = isinstance(value, kinds) and isinstance(value, bool) == (wanted is bool)
        if not fits:
            raise ValueError(f"{name} = {value!r} is of type {type(value).__name__}: it takes {wanted.__name__}, "
                             f"such as {defaults[name]!r}.")
    helpers.check_parameters(given)


def help_search(settings: Mapping[str, object]) -> None:
    """Work on the trials of the search of notebook 01 until all have ended; leaves the study and kept features behind.

    The images, the split and with them the study are those that notebook 01 makes of the same settings.
    """
    source = image_data.open_dataset(settings["DATASET"], demo_images=settings["DEMO_IMAGES"], seed=settings["SEED"])
    table, _ = image_data.image_table(source, bad_images=settings["BAD_IMAGES"])
    table = image_data.split_images(table, settings["SPLIT"], seed=settings["SEED"])
    parts = {split: table[table["split"] == split].reset_index(drop=True) for split in helpers.SPLITS}
    folder = helpers.Run(settings["RUN"]).folder
    found = model_search.search(settings, parts, source.root, source.classes, folder=folder)
    print(f"all {found.n_trials} trials have ended; best: {found.ranked[0].value:.3f}")


# ---------------------------------------------------------------------------------------- estimate


def count_images(settings: Mapping[str, object]) -> int | None:
    """How many images the data set has, without opening any; None where that is not known before it is fetched."""
    known = {"digits": 1797, "photo_patches": 208, "intel": 17034, "cifar10": 60000, "mnist": 70000,
             "imagenette": 13394}
    if settings["DATASET"] == "demo":
        return settings["DEMO_IMAGES"]
    places = (Path(settings["DATASET"]).expanduser(), helpers.ROOT / settings["DATASET"])
    folder = next((place for place in places if place.is_dir()), None)
    if settings["DATASET"] in known or folder is None:
        return known.get(settings["DATASET"])
    return sum(len(files) for _, _, files in os.walk(folder))


def training_seconds(settings: Mapping[str, object], train: int, val: int) -> tuple[float, float, float]:
    """Seconds of one training on so many images, from a few steps now; images a second in training and in prediction."""
    options = experiments.suited(settings, {})
    train_speed, speed = helpers.measure_speed(
        options["ARCHITECTURE"], options["IMAGE_SIZE"], options["STRATEGY"], options["DEVICE"], options["PRECISION"],
        options=options["ARCHITECTURE_OPTIONS"])
    once = (train + val) / speed
    if options["STRATEGY"] == "head" and options["AUGMENTATION"] == "none":
        return once, speed, speed
    kept = once if options["HEAD_EPOCHS"] and not experiments.is_random(options) else 0
    return kept + options["EPOCHS"] * (train / train_speed + val / speed), train_speed, speed


def estimate(settings: Mapping[str, object], numbers: Sequence[str]) -> str:
    """One sentence: how long the notebooks `numbers` will take, from the speed of a few steps on this machine."""
    images = count_images(settings)
    if images is None:
        return "time: unknown until the data set is read"
    train, val, test = (size if isinstance(size, int) else round(images * size) for size in settings["SPLIT"])
    whole, train_speed, speed = training_seconds(settings, train, val)
    seconds = 12 * len(numbers)  # starting a kernel, drawing figures
    if "01" in numbers:
        seconds += images / 300 + (val + test + min(test, 500)) / speed + whole * settings["TRAIN"]
    if "01" in numbers and settings["TRAIN"]:
        trials = (settings["SEARCH_TRIALS"] + 3 * settings["FINAL_SEEDS"]) if settings["SEARCH_TRIALS"] else 0
        seconds += trials * (settings["SEARCH_EPOCHS"] or settings["EPOCHS"]) * (
            min(train, settings["SEARCH_IMAGES"] or train) / train_speed + val / speed)
        for row in settings["COMPARE"]:
            seconds += training_seconds(experiments.suited(settings, row), train, val)[0] + (val + test) / speed
    if set(numbers) - {"01"}:  # six scenarios and the draws of random weights, measured once for 02 and 03
        passes = 6 + settings["RANDOM_DRAWS"]
        seconds += passes * settings["N_IMAGES"] / speed * (settings["MAP_SIZE"] / settings["IMAGE_SIZE"]) ** 2
    if "02" in numbers:  # explanations: seven networks with a map and two gradients each; four views of what is hidden
        seconds += (49 * settings["RANDOMISED_IMAGES"] + 5 * settings["OCCLUDED_IMAGES"] + settings["N_IMAGES"]) / speed
    return (f"time: about {helpers.duration(seconds)} for notebooks {', '.join(numbers)} ({images:,} images, "
            f"{settings['EPOCHS']} epochs at {train_speed:.0f} images a second, measured just now); "
            "less where trials are pruned or a finished part is used again")


# ---------------------------------------------------------------------------------------- running


class Tee:
    """Writes to the terminal and to the log of the run."""

    def __init__(self, path: Path):
        self.file = open(path, "a", encoding="utf-8")

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        self.file.write(text)
        self.flush()

    def flush(self) -> None:
        sys.stdout.flush()
        self.file.flush()


def execute(notebook: Path, folder: Path, parameters: Mapping[str, object], log: Tee) -> None:
    """Run one notebook through papermill; the executed copy is in `folder`, whatever happens."""
    declared = notebook_parameters(notebook)
    own = {name: value for name, value in parameters.items() if name in declared}
    log.write(f"\n== {notebook.stem}\n")
    start = time.perf_counter()
    papermill.execute_notebook(str(notebook), str(folder / notebook.name), own, kernel_name="python3", progress_bar=False,
                               stdout_file=log, stderr_file=log.file, extra_arguments=["--log-level=50"])
    log.write(f"== {notebook.stem}: {helpers.duration(time.perf_counter() - start)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="a name in profiles/, or the path of a YAML file of parameters")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set one parameter")
    parser.add_argument("--name", help="the name of the run folder, runs/NAME (default: that of the profile)")
    parser.add_argument("--only", nargs="+", metavar="NN", help="run these notebooks only, such as 01")
    parser.add_argument("--search", action="store_true",
                        help="work on the search of notebook 01 only: as one of several processes that share a study")
    parser.add_argument("--publish", metavar="FOLDER", help="copy the figures that README shows there afterwards")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except papermill.PapermillExecutionError as error:
        print(f"\nerror: a cell of the notebook failed: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    """Check, estimate, run the notebooks, export the report."""
    books = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    numbers = [book.name[:2] for book in books]
    for number in options.only or []:
        if number not in numbers:
            raise ValueError(f"--only {number}: there is no such notebook; legal are {', '.join(numbers)}.")
    defaults = {name: value for book in reversed(books) for name, value in notebook_parameters(book).items()}
    given = read_profile(options.profile)
    given |= {name: parse_value(value, defaults.get(name)) for name, value in options.p}
    given |= {"RUN": options.name} if options.name else {}
    check_types(given, defaults)
    settings = defaults | given
    experiments.check_settings(settings)
    model_search.check_search(settings)
    if options.search:
        if not settings["SEARCH_TRIALS"]:
            raise ValueError("--search: there is nothing to search, since SEARCH_TRIALS = 0.")
        help_search(settings)
        return 0
    folder = helpers.Run(settings["RUN"]).folder
    log = Tee(folder / "run.log")
    log.write(f"run {settings['RUN']}: {folder}\n")
    chosen = [book for book in books if not options.only or book.name[:2] in options.only]
    log.write(estimate(settings, [book.name[:2] for book in chosen]) + "\n")
    for book in chosen:
        try:
            execute(book, folder, given, log)
        except papermill.PapermillExecutionError:
            print(f"executed up to there: {folder / book.name}", file=sys.stderr)
            raise
    report = export_report([folder / book.name for book in books if (folder / book.name).exists()], folder / "report.html")
    if options.publish:
        publish(folder, Path(options.publish))
    print(f"report: {report}")
    return 0


def publish(folder: Path, target: Path) -> None:
    """Copy the figures that README shows from a run folder to `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for figure in sorted((folder / "figures").glob("*.png")):
        if f"{figure.name}" in (helpers.ROOT / "README.md").read_text(encoding="utf-8"):
            picture = Image.open(figure).convert("RGB")  # with 256 colours a third of the size
            picture = picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)
            picture.save(target / figure.name, optimize=True)


# ---------------------------------------------------------------------------------------- report

TEMPLATE = """
{%- extends 'classic/base.html.j2' -%}
{%- block codecell scoped -%}<section class="cell">{{ super() }}</section>{%- endblock -%}
{%- block in_prompt -%}{%- endblock -%}
{%- block input -%}
{%- set tags = cell.metadata.get("tags", []) -%}
<details class="code"{% if "injected-parameters" in tags %} open{% endif %}>
{%- set names = {"parameters": "code: the defaults", "injected-parameters": "code: the parameters of this run"} -%}
<summary>{{ names.get(tags[0], "code") if tags else "code" }}</summary>
{{ cell.source | highlight_code(metadata=cell.metadata) }}</details>
{%- endblock -%}
{%- block output_area_prompt -%}{%- endblock -%}
{%- block empty_in_prompt -%}{%- endblock -%}
{%- block stream_stderr -%}{%- endblock -%}
{%- block data_widget_view -%}{%- endblock -%}
"""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><header><h1>{title}</h1><p>{about}</p>{note}</header><nav><h2>Contents</h2>{contents}</nav>
<main>{body}</main></body></html>
"""

STYLE = """
body{font:16px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;color:#1d1d1f;
margin:0 auto;max-width:1080px;padding:1.5rem 1.5rem 6rem}
h1{font-size:2rem;line-height:1.2;margin:2.5rem 0 .6rem}
h2{font-size:1.4rem;margin:2.2rem 0 .5rem;border-top:1px solid #ddd;padding-top:1.2rem}
h3{font-size:1.1rem}nav h2{border:0;padding:0;margin-top:1rem}nav ul{margin:.2rem 0;padding-left:1.3rem}
nav{background:#f6f7f9;border-radius:8px;padding:.4rem 1.2rem 1rem;columns:2;column-gap:3rem}nav h2{column-span:all}
nav ul ul{font-size:.93rem}nav li{break-inside:avoid}main>article+article{border-top:4px solid #1d1d1f;margin-top:4rem}
a{color:#0b5cad}.anchor-link{visibility:hidden;text-decoration:none;margin-left:.3em}
h2:hover .anchor-link{visibility:visible}
img{max-width:100%;height:auto;display:block;margin:.6rem 0}
.note{background:#fff4d6;border-left:4px solid #e69f00;padding:.5rem 1rem;margin:.8rem 0}
details.code{margin:.3rem 0}details.code>summary{cursor:pointer;color:#70757c;font-size:.8rem;user-select:none}
pre{font:13px/1.45 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-x:auto;margin:.3rem 0;
padding:.6rem .8rem;background:#f6f7f9;border-radius:6px}
.output_stream pre,.output_text pre{background:none;padding:.2rem 0;white-space:pre-wrap}
.output_error pre{background:#fdecea}
.output_html{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;margin:.6rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;text-align:left;border-bottom:1px solid #e4e6ea}thead th{border-bottom:2px solid #9aa0a6}
table.numbers td{text-align:right}table.numbers td:first-child,table.numbers th:first-child{text-align:left}
table.numbers th{text-align:right}math{font-size:1.05em}math[display=block]{margin:.7rem 0}
code{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em}
@media print{details.code{display:none}nav{display:none}img{break-inside:avoid}}
@media(max-width:700px){nav{columns:1}}
"""


class _MathRenderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without a script."""

    def block_math(self, body: str) -> str:
        return to_mathml(body, display="block")

    def inline_math(self, body: str) -> str:
        return to_mathml(body)


def _markdown(source: str) -> str:
    return MarkdownWithMath(renderer=_MathRenderer(escape=False)).render(source)


def export_report(notebooks: Sequence[Path], target: Path) -> Path:
    """Write the executed notebooks as one self-contained HTML page; raises ValueError if it would load anything."""
    exporter = HTMLExporter(template_file="report.html.j2", extra_loaders=[DictLoader({"report.html.j2": TEMPLATE})],
                            filters={"markdown2html": _markdown}, preprocessors=[CoalesceStreamsPreprocessor(enabled=True)])
    bodies, contents = [], []
    for path in notebooks:
        body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
        number = path.name[:2]
        body = re.sub(r'(<h[123] id="|href="#)', rf"\g<1>{number}-", body)  # headings of the three must not share a name
        headings = re.findall(r'<h([12]) id="([^"]*)">(.*?)<a class="anchor-link"', body)
        top = next(((name, text) for level, name, text in headings if level == "1"), (f"{number}-", path.stem))
        items = "".join(f'<li><a href="#{name}">{text}</a></li>' for level, name, text in headings if level == "2")
        contents.append(f'<li><a href="#{top[0]}">{top[1]}</a><ul>{items}</ul></li>')
        bodies.append(f"<article>{body}</article>")
    about, note = _about(target.parent)
    page = PAGE.format(title="Inside an image classifier", about=about, note=note, contents=f"<ul>{''.join(contents)}</ul>",
                       style=STYLE + HtmlFormatter().get_style_defs(".highlight"), body="".join(bodies))
    outside = outside_requests(page)
    if outside:
        raise ValueError(f"The report would load {outside[0]} from elsewhere: show pictures with show_figure instead.")
    with helpers.replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _about(folder: Path) -> tuple[str, str]:
    """The line under the report's title, and the note that the images are drawn where they are."""
    file = folder / "01_results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    about = f"Run “{folder.name}”, {date.today():%d %B %Y}. "
    if results:
        about += f"{results['architecture']} on {results['n_images']:,} images ({results['dataset']}). "
    note = '<p class="note">The images of this run are <b>drawn</b> by the project, not photographs: its numbers tell ' \
        "how the notebooks work, not how well a network reads photographs.</p>" if results.get("drawn") else ""
    return about + "The code of each step is folded away under “code”.", note


def outside_requests(page: str) -> list[str]:
    """What a browser would fetch when it opens the page: addresses of scripts, styles, pictures, frames, fonts."""
    page = re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]*", "data:", page)
    tags = "script|img|iframe|link|source|video|audio|object|embed"
    loads = re.findall(rf"<(?:{tags})\b[^>]*?\b(?:src|href|data)\s*=\s*[\"']?([^\"'\s>]*)", page)
    loads += re.findall(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?([^\"')\s;]+)", page)
    loads += re.findall(r"<script\b[^>]*>", page)
    return [address for address in loads if not address.startswith(("data:", "#"))]


if __name__ == "__main__":
    logging.getLogger("papermill").setLevel(logging.ERROR)
    sys.exit(main())
