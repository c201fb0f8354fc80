"""Tests of inside/many_runs/compare/page.py and of what it stands on, with run folders that are invented."""

import re

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from inside.cli.main import main
from inside.files import write_json
from inside.many_runs.compare.details import disagreements, feature_maps, one_sided_images
from inside.many_runs.compare.finished import differing_parameters
from inside.many_runs.compare.page import compare_runs
from inside.many_runs.compare.sections import Comparison
from inside.report.page import outside_requests
from inside.shown import Figure, Fold, Table
from shared.invented import invent_images, invent_maps, invent_run

N = 120  # test images


def hits(share, seed=0):
    """Which of N images are right: networks of one `seed` are right on the same images first."""
    return np.random.default_rng(seed).random(N).argsort().argsort() < share * N


@pytest.fixture
def two(tmp_path):
    """A run that has 110 of 120 images right, and one that has 90 of these, its tables in another order."""
    return [invent_run(tmp_path / "good", hits(11 / 12), val=0.9), invent_run(tmp_path / "weak", hits(0.75), val=0.8, shuffled=True,
                                                                            parameters={"EPOCHS": 1})]


def words(page):
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    soup.style.extract()
    return re.sub(r"\s+", " ", soup.get_text(" "))


def test_two_runs(two, tmp_path):
    page = compare_runs(two[::-1], tmp_path / "out" / "compare.html")
    told = words(page)
    assert "On the same 120 test images, good is better than weak by more than chance" in told and "16.7 percentage points" in told
    assert "about these networks, not about their settings" in told
    assert outside_requests(page.read_text()) == [] and "<script" not in page.read_text() and "default-src 'none'" in page.read_text()


def test_images_are_paired_by_their_path(two):
    """The rows of the two predictions stand in different orders: by place, other images would differ."""
    (row,) = Comparison.of(two).pairs.to_dict("records")
    assert (row["only_first"], row["only_second"], row["images"]) == (20, 0, 120) and row["p"] == pytest.approx(2 / 2 ** 20)
    assert row["verdict"] == 1 and row["difference"] == pytest.approx(1 / 6) and row["low"] > 0.09
    assert Comparison.of(two[::-1]).pairs.equals(Comparison.of(two).pairs)  # the best on validation comes first


def test_equal_runs_cannot_be_told_apart(tmp_path):
    runs = [invent_run(tmp_path / name, hits(0.8, seed), val=0.8) for seed, name in enumerate(["one", "two"])]
    assert "**one** and **two** cannot be told apart" in Comparison.of(runs).verdict()[0]


def test_other_images_are_never_paired(two, tmp_path):
    other = invent_run(tmp_path / "other", hits(0.5), val=0.95, images=invent_images(N // 3, seed=7))  # the same paths, other pixels
    found = Comparison.of([*two, other])
    assert found.pairs[["first", "second"]].to_numpy().tolist() == [["good", "weak"]]
    alone = Comparison.of([two[0], other])
    assert alone.pairs.empty and "No two of these runs were tested on the same images" in alone.verdict()[0]


def test_copies_count_once(two, tmp_path):
    """Where the 20 images that only one network has right are copies of one picture, there is next to no evidence."""
    images = invent_images(N // 3)
    images.loc[hits(11 / 12) & ~hits(0.75), "group"] = 1
    runs = [invent_run(tmp_path / f"copies{share}", hits(share), images=images, val=share) for share in (11 / 12, 0.75)]
    (row,) = Comparison.of(runs).pairs.to_dict("records")
    assert row["only_first"] == 3 and row["verdict"] == 0  # one for each class that the group has


def test_many_runs_are_compared_with_the_best_and_p_is_adjusted(tmp_path):
    shares = [0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6]
    runs = [invent_run(tmp_path / f"run{place}", hits(share), val=share) for place, share in enumerate(shares)]
    found = Comparison.of(runs).pairs
    assert set(found["first"]) == {"run0"} and len(found) == 6 and found["adjusted"].iloc[0] == pytest.approx(found["p"].iloc[0])
    assert found["adjusted"].iloc[-1] == pytest.approx(6 * found["p"].iloc[-1])
    few = Comparison.of(runs[:3]).pairs
    assert len(few) == 3 and few["p"].tolist() == pytest.approx([2 / 2 ** 6, 2 / 2 ** 12, 2 / 2 ** 6])
    assert few["verdict"].tolist() == [0, 1, 0]  # p = 0.03, but there are three


def test_seeds_become_mean_and_spread(tmp_path):
    runs = [invent_run(tmp_path / f"{rate}-{seed}", hits(share + seed / 40, seed), val=share, parameters={"LEARNING_RATE": rate, "SEED": seed})
            for rate, share in ((0.1, 0.85), (0.001, 0.5)) for seed in range(3)]
    found = Comparison.of(runs)
    assert list(found.settings) == ["LEARNING_RATE 0.1", "LEARNING_RATE 0.001"] and [len(group) for group in found.settings.values()] == [3, 3]
    assert "With 3 seeds each, **LEARNING_RATE 0.1** is better than **LEARNING_RATE 0.001**" in found.verdict()[0].translate(
        dict.fromkeys(map(ord, "\u2068\u2069")))
    told = words(compare_runs(runs, tmp_path / "compare.html"))
    assert "0.875 0.025 0.850 0.900" in told and "not about their settings" not in told  # mean, standard deviation, range
    assert "validation by epoch." in told and "known to have had the same validation images" not in told


def test_only_parameters_with_different_values_are_shown(two, tmp_path):
    more = invent_run(tmp_path / "more", hits(0.5), parameters={"TOP_K": 5, "STUDY_STORAGE": "postgresql://me:secret@host/x"})
    found = differing_parameters(Comparison.of([*two, more]).runs)
    assert found.to_numpy().tolist() == [["EPOCHS", "3", "3", "1"]] and list(found)[0] == "parameter"
    other = invent_run(tmp_path / "other", hits(0.5), parameters={"STUDY_STORAGE": "", "TOP_K": 6})
    found = differing_parameters(Comparison.of([more, other]).runs)
    assert set(found["parameter"]) == {"TOP_K", "STUDY_STORAGE"} and "secret" not in str(found.to_numpy())


def test_one_setting_and_unknown_parameters(tmp_path):
    """Two seeds of one setting and nothing else; two runs whose parameters are not known."""
    runs = [invent_run(tmp_path / f"seed{seed}", hits(0.8), parameters={"SEED": seed}) for seed in range(2)]
    assert Comparison.of(runs).verdict()[0].startswith("One setting is repeated, with 2 seeds: no other setting")
    for run in runs:
        (run / "run.json").unlink()
    assert Comparison.of(runs).settings == {} and next(Comparison.of(runs).sections())[0] == "The runs"


def test_the_same_seed_twice_is_no_repetition(tmp_path):
    runs = [invent_run(tmp_path / name, hits(0.8), parameters={"LEARNING_RATE": rate}) for name, rate in (("a", 0.1), ("b", 0.1), ("c", 0.2))]
    assert Comparison.of(runs).settings == {}


def test_a_seed_of_the_split_that_follows_from_the_seed_is_the_same_seed(tmp_path):
    runs = [invent_run(tmp_path / f"{rate}-{seed}", hits(share), parameters={"LEARNING_RATE": rate, "SEED": 0, "SPLIT_SEED": seed})
            for rate, share in ((0.1, 0.8), (0.2, 0.5)) for seed in ("auto", 0)]
    assert Comparison.of(runs).settings == {}


@pytest.mark.parametrize("others, told", [
    (1, "**IGNORE 's.csv'** and **IGNORE ''** cannot be compared, since they are not known to have the same test images: a difference of "),
    (2, "On test, it is not known to have the same test images as ")])
def test_settings_with_other_test_images_are_not_compared(tmp_path, others, told):
    """Without the twelve images that all networks of the other settings have wrong, accuracy is higher: nobody is better for that."""
    images, right = invent_images(N // 3), np.arange(N) % 10 > 0
    seeds = [right ^ (np.arange(N) == 5 + seed) for seed in range(3)]  # one image more or less
    runs = [invent_run(tmp_path / f"fewer{seed}", hit[right], images=images[right].reset_index(drop=True), val=0.95,
                       parameters={"IGNORE": "s.csv", "SEED": seed}) for seed, hit in enumerate(seeds)]
    runs += [invent_run(tmp_path / f"{rest}{seed}", hit, images=images, val=0.9 - rest / 10, parameters={"IGNORE": "", "SEED": seed, "EPOCHS": 3 + rest})
             for rest in range(others) for seed, hit in enumerate(seeds)]
    found = Comparison.of(runs)
    table = found.setting_pairs
    apart = table["first"].str.contains("s.csv")
    assert (table.loc[apart, "verdict"] == 0).all() and table.loc[apart, ["p", "adjusted"]].isna().all(axis=None) and table.loc[apart, "low"].isna().all()
    assert (table.loc[~apart, "adjusted"] == table.loc[~apart, "p"]).all()  # there is one comparison
    assert table.loc[~apart, "comparable"].all() and table.loc[~apart, "low"].notna().all()
    assert told in found.verdict()[0].translate(dict.fromkeys(map(ord, "\u2068\u2069")))
    assert "neither where the two are not known to have the same test images" in words(compare_runs(runs, tmp_path / "compare.html"))


def test_a_p_value_for_the_other_run_is_no_evidence(tmp_path):
    """Two rare classes and a frequent one: one run is better in the rare ones, the other classifies more images correctly."""
    images = pd.concat([invent_images(30).query("label != 'forest'"), invent_images(900).query("label == 'forest'")], ignore_index=True)
    rare = (images["label"] != "forest").to_numpy()
    frequent = np.flatnonzero(~rare)
    first, second = np.ones((2, len(images)), dtype=bool)
    first[frequent[:60]], second[np.flatnonzero(rare)[::2][:24]] = False, False
    runs = [invent_run(tmp_path / name, hit, images=images, val=val) for name, hit, val in (("first", first, 0.9), ("second", second, 0.8))]
    found = Comparison.of(runs)
    (row,) = found.pairs.to_dict("records")
    assert row["low"] > 0.1 and row["accuracy_high"] < 0 and row["p"] < 0.001 and row["verdict"] == 0
    assert "cannot be told apart" in found.verdict()[0] and "but **second** classifies more images correctly" in found.verdict()[0]


def test_a_sentence_on_one_of_several_comparisons_has_the_adjusted_p(tmp_path):
    runs = [invent_run(tmp_path / f"{place}-{share}", hits(share), images=invent_images(N // 3, seed=place), val=share)
            for place in range(3) for share in (0.85, 0.8)]
    found = Comparison.of(runs)
    p, adjusted = found.pairs[["p", "adjusted"]].iloc[0]
    assert p == pytest.approx(2 / 2 ** 6) and adjusted == pytest.approx(3 * p) and (found.pairs["verdict"] == 0).all()
    assert "cannot be told apart" in found.verdict()[0] and "p = 0.094, adjusted for 3 comparisons)." in found.verdict()[0]


def test_hostile_names(tmp_path):
    classes = ["<img src=x onerror=alert(1)>", "**b** $x$", "=1+1"]
    images = invent_images(N // 3, classes=classes)
    runs = [invent_run(tmp_path / name, hits(share), images=images, classes=classes, parameters={"DATASET": "</td><script>alert(1)</script>" + name})
            for name, share in (("<b>bold", 0.9), ("*em*_x_`c`\u202e", 0.5))]
    page = compare_runs(runs, tmp_path / "compare.html")
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    assert outside_requests(page.read_text()) == [] and not soup.find_all(["script", "em"]) and not soup.find_all("img", src="x")
    assert "<b>bold" in soup.get_text() and "*em*_x_`c`\\u202e" in soup.get_text() and "</td><script>alert(1)" in soup.get_text()


@pytest.mark.parametrize("damage, told", [
    (lambda run: (run / "01_results.json").unlink(), "has no results of notebook 01"),
    (lambda run: (run / "01_results.json").write_text('{"val": 3}'), "has no results of notebook 01"),
    (lambda run: (run / "02_results.json").write_text("{"), "is damaged"),
    (lambda run: (run / "predictions_test.csv").write_text("path,label,predicted,confidence\nx,y,z,1\n"), "is not of the test images"),
    (lambda run: (run / "split.csv").unlink(), "cannot be read"),
    (lambda run: (run / "predictions_test.csv").write_bytes(b"\xff\xfe\x00"), "cannot be read")])
def test_a_damaged_run_is_named(two, tmp_path, damage, told):
    """It is left out, or stands beside the others, and the page says why."""
    damage(broken := invent_run(tmp_path / "broken", hits(0.6), maps=True))
    found = Comparison.of([*two, broken])
    assert told in " ".join([*found.left_out, *(run.unpaired for run in found.runs)]) and len(found.pairs) == 1


def test_the_whole_page(tmp_path):
    """Ten runs on two sets of images, with feature maps: each section is there, each figure says in words what it shows."""
    shares, others = np.linspace(0.9, 0.5, 9), invent_images(N // 3, seed=3)
    runs = [invent_run(tmp_path / f"run{place}", hits(share, place % 3), val=share, maps=place != 4) for place, share in enumerate(shares)]
    runs.append(invent_run(tmp_path / "other", hits(0.5), images=others, val=0.95, maps=True))
    invent_maps(runs[2], ["stem", "head"])
    (runs[1] / "history.csv").unlink()
    soup = BeautifulSoup(compare_runs(runs, tmp_path / "compare.html").read_text(encoding="utf-8"), "html.parser")
    assert [head.get_text() for head in soup.find_all("h2")] == [
        "The runs", "Parameters that differ", "Differences on the same test images", "Learning curves", "Classes",
        "Images that only one classifies correctly", "Feature maps", "Not in this page"]
    assert [figure["id"] for figure in soup.find_all("figure")] == [
        "table-runs", "table-differences", "figure-learning", "figure-classes", "table-classes_accuracy", "table-classes_average_precision", "table-only_1", "table-only_2",
        "figure-non_positive_share", "figure-effective_rank", "figure-spectra"]
    assert all(len(image["alt"]) > 60 for image in soup.find_all("img")) and "none: the runs have the same" in soup.get_text().lower()
    missing = soup.find_all("section")[-1].get_text()
    for told in ("Learning curves of run1", "The effective rank of run4: notebook 03 has not run there", "The effective rank of run2: other layers",
                 "Pictures of the test images of run0 and run1", "not compared image by image: run0, run1, run2, run3 and 5 more; other"):
        assert told in missing, told
    assert "known to have had the same validation images" in soup.find(id="figure-learning").get_text()
    first = soup.find(id="table-only_1").find_all("td")
    assert len(soup.find(id="table-differences").find_all("tr")) == 9 and first[0].get_text().endswith(".png")


def test_eigenvalues_are_shares_of_the_whole_variance(tmp_path):
    """However many of them a run has kept (TOP_K)."""
    runs = [invent_run(tmp_path / name, hits(0.8), maps=True) for name in ("all", "two")]
    with np.load(runs[1] / "spectra.npz") as kept:
        fewer = {name: values[:2] for name, values in kept.items()}
    np.savez(runs[1] / "spectra.npz", **fewer)
    (figure,) = [shown for shown in feature_maps(Comparison.of(runs).runs, []) if shown.name == "spectra"]
    lines = figure.drawing.axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [pytest.approx([2 / 3.75, 1 / 3.75, 0.5 / 3.75, 0.25 / 3.75]), pytest.approx([2 / 3.75, 1 / 3.75])]


def test_the_images_of_a_disagreement(tmp_path):
    """They are drawn while they are there; the most confident error comes first."""
    images, root = invent_images(N // 3), tmp_path / "images"
    for path in images["path"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(root / path)
    runs = [invent_run(tmp_path / name, hits(share), images=images, val=share) for name, share in (("good", 0.9), ("weak", 0.8))]
    write_json(runs[0] / "model.json", {"root": str(root)})
    group = Comparison.of(runs).groups[0]
    found = one_sided_images(*group)
    assert len(found) == 12 and (np.diff(found["wrong confidence"]) <= 0).all() and (found["predicted"] != found["label"]).all()
    assert set(found["path"]) == set(images["path"][hits(0.9) & ~hits(0.8)])
    missing = []
    drawn, fold, none = disagreements(group, missing)
    assert isinstance(drawn, Figure) and found["path"][0] in drawn.alt and isinstance(fold, Fold) and none.markdown.startswith("0 of 120") and not missing
    write_json(runs[0] / "model.json", {"root": str(root / "forest")})
    assert isinstance(next(disagreements(group, missing)), Table) and "cannot be decoded" in missing[0] or "is gone" in missing[0]


def test_no_image_outside_of_its_folder_is_shown(two, tmp_path):
    images = invent_images(N // 3)
    images.loc[0, "path"] = "../secret.png"
    run = invent_run(tmp_path / "away", hits(0.8), images=images)
    assert [found.name for found in Comparison.of([*two, run]).runs if found.unpaired] == ["away"]


def test_the_command(two, tmp_path, capsys):
    assert main(["compare", *map(str, two), "--out", str(tmp_path / "x.html")]) == 0
    told = capsys.readouterr().out
    assert "good is better than weak by more than chance" in told and (tmp_path / "x.html").exists() and "**" not in told
    assert main(["compare", str(two[0]), str(two[0])]) == 2 and "takes two runs or more" in capsys.readouterr().err
    assert main(["compare", str(two[0]), str(tmp_path / "none")]) == 2 and "The run none has no results" in capsys.readouterr().err
