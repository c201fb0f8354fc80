"""What a folder of images holds: which files are images, of which class, and what is left out for which reason."""

from __future__ import annotations

import dataclasses
import difflib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from inside.files import ROOT
from inside.names import DATASETS
from inside.text import did_you_mean, listed, literal, natural_sort, visible

IMAGE_SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .gif .tif .tiff .webp .ppm .pgm".split())
UNSUPPORTED = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000",
               ".svg": "SVG", ".svgz": "SVG", ".psd": "Photoshop's format", **dict.fromkeys(
                   ".dng .cr2 .cr3 .nef .arw .orf .rw2 .raf".split(), "a camera's raw format")}
LEFTOVERS = frozenset(("__MACOSX", "__pycache__", "lost+found", "@eaDir", "$RECYCLE.BIN", "System Volume Information"))
NOT_UTF8 = "its name is not valid UTF-8: rename it"
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                 "test": "test"}


@dataclasses.dataclass
class Listing:
    """The images below `root`: rows (path, label, given) for `ImageSet.table`.

    `refused` {path: reason} are files that look like images and are none that can be read; `notes` are sentences on what
    a reader should know. `outside` counts images behind symbolic links that lead out of the folder.
    """

    root: Path
    rows: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    outside: int = 0

    def add(self, folder: Path, label: str, given: str = "") -> int:
        """Add the images below a folder to the rows; how many there are."""
        above = (*self.root.parents, self.root) if folder != self.root else self.root.parents
        found = list(self._images(folder, {_identity(path) for path in above}, self._leads_out(folder)))
        self.rows += [(path, label, given) for path in found]
        return len(found)

    def _images(self, folder: Path, seen: set[tuple[int, int]], outside: bool) -> Iterator[str]:
        """The paths of the images below a folder, relative to root; no folder is entered twice, so that links end."""
        if _identity(folder) in seen or not _is_utf8(folder.name):
            self.refused[self.name_of(folder)] = NOT_UTF8 if _identity(folder) not in seen else (
                "a link to a folder above it, or to one that is listed already")
            return
        seen.add(_identity(folder))
        for path in entries(folder):
            leads_out = outside or path.is_symlink() and self._leads_out(path)
            if os.path.isdir(path):
                yield from self._images(path, seen, leads_out)
            elif reason := _reason(path):
                self.refused[self.name_of(path)] = reason
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                self.outside += leads_out
                yield self.name_of(path)

    def name_of(self, path: Path) -> str:
        """A path relative to root; bytes that are not UTF-8 are written as escapes."""
        return path.relative_to(self.root).as_posix().encode(errors="backslashreplace").decode()

    def _leads_out(self, path: Path) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))


def _told(path: object) -> str:
    """A path as a message tells it: signs that are not seen are written as escapes."""
    return visible(str(path))


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _reason(path: Path) -> str:
    """Why a file that is named like an image cannot be read as one; "" where it may be one, or is not named so."""
    suffix = path.suffix.lower()
    if suffix in UNSUPPORTED:
        return f"{UNSUPPORTED[suffix]} is not supported: convert it to JPEG or PNG"
    if suffix not in IMAGE_SUFFIXES:
        return ""
    if not _is_utf8(path.name):
        return NOT_UTF8
    if os.path.isfile(path):
        return ""
    if not os.path.exists(path):
        return "a link to a file that does not exist"
    return "not a file, but a named pipe, a socket or a device"


def _is_utf8(name: str) -> bool:
    return name.encode(errors="replace") == name.encode(errors="surrogatepass")


def entries(folder: Path) -> list[Path]:
    """The entries of a folder in natural order, without hidden ones and what systems and archives leave behind."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".") and name not in LEFTOVERS]
    except OSError as error:
        raise ValueError(f"The folder {_told(folder)} cannot be listed ({error.strerror}): make it readable, or remove it "
                         "from the data set.") from None
    return [folder / name for name in natural_sort(names)]


def list_folder(root: Path, *, labels: bool = True) -> Listing:
    """The images of a folder in one of the layouts that `open_dataset` names. Raises ValueError where it has none of them.

    Symbolic links are followed, also out of the folder, which is then told; a folder above or one that has been listed is
    not entered again.
    """
    listing, here = Listing(root), entries(root)
    tops = _tops(root, [path for path in here if os.path.isdir(path)], labels=labels)
    for top, given in tops:
        _add_classes(listing, top, given, labels=labels)
    if not labels and not listing.rows:
        listing.add(root, "")
    _require_images(listing, here, labels=labels)
    listing.notes += _notes(listing, tops, here)
    return listing


def _tops(root: Path, folders: list[Path], *, labels: bool) -> list[tuple[Path, str]]:
    """The folders that hold the class folders, each with the part to which the data set itself assigns its images."""
    named = {path.name: path for path in folders}
    if {"seg_train", "seg_test"} <= set(named):  # the Intel scenes, merged; each is nested once in the archive
        return [(inner if (inner := named[part] / part).is_dir() else named[part], "") for part in ("seg_train", "seg_test")]
    parts = {name: SPLIT_FOLDERS[name.lower()] for name in named if name.lower() in SPLIT_FOLDERS}
    if "train" in parts.values() and len(set(parts.values())) > 1:
        tops = [(named[name], part) for name, part in parts.items()]
        divided = [(top, part) for top, part in tops if _has_folders(top)] if labels else tops
        kinds = {part for _, part in divided}
        return tops if "train" not in kinds else divided if len(kinds) > 1 else [(top, "") for top, _ in divided]
    if labels and parts and len(parts) == len(named) and _has_folders(named[next(iter(parts))]):
        if "train" not in parts.values():
            raise ValueError(f"The folder {_told(root)} contains {listed(list(parts))}, but no train/: add it, or point "
                             "DATASET to a folder with one folder per class.")
        raise ValueError(f"The folder {_told(root)} contains {listed(list(parts))}, but neither val/ nor test/: point "
                         f"DATASET to {_told(named[next(iter(parts))])}, which SPLIT then divides.")
    return [(root, "")]


def _has_folders(folder: Path) -> bool:
    return any(map(os.path.isdir, entries(folder)))


def _add_classes(listing: Listing, top: Path, given: str, *, labels: bool) -> None:
    """Add the images of all class folders in `top`; ValueError for one that is empty, or whose name cannot be written."""
    for folder in entries(top):
        if not os.path.isdir(folder):
            if labels and folder.is_symlink() and not folder.suffix:
                raise ValueError(f"{_told(folder)} is a link to a folder that does not exist: mend or remove it.")
            continue
        if not _is_utf8(folder.name):
            raise ValueError(f"The folder {listing.name_of(folder)} of {_told(listing.root)} has a name that is not valid "
                             "UTF-8: rename it.")
        before = len(listing.refused)
        if not listing.add(folder, folder.name, given) and labels and not folder.name.startswith("seg_"):
            why = dict(list(listing.refused.items())[before:])
            raise ValueError(f"The class folder {folder.name!r} of {_told(listing.root)} contains no image{_such_as(why)}: "
                             "fill it or remove it.")


def _such_as(refused: Mapping[str, str]) -> str:
    """Which files cannot be read, in brackets: the first, and their number."""
    path, reason = next(iter(refused.items()), ("", ""))
    more = f", and {len(refused) - 1:,} more" if len(refused) > 1 else ""
    return f" that can be read ({visible(path)}: {reason}{more})" if refused else ""


def _require_images(listing: Listing, here: list[Path], *, labels: bool) -> None:
    """Raise ValueError unless there are images, and, where they need `labels`, at least two classes."""
    root, classes = _told(listing.root), list(dict.fromkeys(label for _, label, _ in listing.rows))
    if not listing.rows and labels and any(path.suffix.lower() in IMAGE_SUFFIXES for path in here if path.is_file()):
        raise ValueError(f"The folder {root} contains images but no class folders: put the images of each class into a "
                         "folder named after the class.")
    if not listing.rows:
        raise ValueError(f"The folder {root} contains no image{_such_as(listing.refused)}: point DATASET to a folder with "
                         f"one folder per class, with images that end in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    if labels and len(classes) < 2:
        inner = [path for path in entries(listing.root / classes[0]) if os.path.isdir(path)]
        nearer = f", or point DATASET to {_told(listing.root / classes[0])}, which has {len(inner)} folders" * (
            len(inner) > 1)
        raise ValueError(f"The folder {root} contains only one class, {classes[0]!r}: a classifier needs two{nearer}.")


def _notes(listing: Listing, tops: list[tuple[Path, str]], here: list[Path]) -> list[str]:
    """Sentences on what is not used, on links, and on classes whose names look alike."""
    labels = dict.fromkeys(label for _, label, _ in listing.rows)
    told = look_alikes(labels)
    unused = [path.name for path in here if os.path.isdir(path) and tops[0][0] != listing.root
              and not any(top.is_relative_to(path) for top, _ in tops)]
    if unused:
        told.append("Not used, since they are none of the parts, or have no class folders: "
                    f"{listed([literal(name) for name in unused])}.")
    loose = sum(path.suffix.lower() in {*IMAGE_SUFFIXES, *UNSUPPORTED} for path in here if not os.path.isdir(path))
    if loose and labels != {"": None}:
        told.append(f"{loose:,} image{'s lie' if loose > 1 else ' lies'} beside the class folders, and so in no class: not "
                    "used.")
    if listing.outside:
        told.append(f"{listing.outside:,} image{'s are' if listing.outside > 1 else ' is'} used that symbolic links fetch "
                    "from outside of the folder.")
    return told


def look_alikes(names: Iterable[str]) -> list[str]:
    """A sentence for each set of names that differ only in case, in Unicode form, or in signs that are not seen."""
    alike: dict[str, list[str]] = {}
    for name in names:
        seen = "".join(sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf")
        alike.setdefault(unicodedata.normalize("NFC", seen.casefold()).strip(), []).append(name)
    told = [[f"{literal(name)} ({literal(ascii(name))})" for name in found] for found in alike.values() if len(found) > 1]
    return [f"The classes {listed(found)} look alike, but are different names and so different classes." for found in told]


def find_folder(dataset: str) -> Path:
    """The folder that DATASET names. Raises ValueError where there is none, with the nearest names."""
    try:
        places = [Path(dataset).expanduser(), ROOT / dataset] if dataset.strip() else []
        found = [place.resolve() for place in places if place.exists()]
    except PermissionError as error:
        raise ValueError(f"DATASET = {dataset!r} cannot be reached ({error.strerror}): make the folders above it readable, "
                         "or choose another one.") from None
    except (OSError, RuntimeError, ValueError):  # too long, a link to itself, an unknown ~user, a null byte
        places, found = [], []
    folder = next((place for place in found if place.is_dir()), None)
    if folder:
        return folder
    if found:
        raise ValueError(f"DATASET = {dataset!r} is a file: give the folder that holds one folder per class, and unpack an "
                         "archive first.")
    looked = f" (looked at {' and '.join(dict.fromkeys(str(place.absolute()) for place in places))})" if places else ""
    beside = [path.name for place in places[:1] if os.path.isdir(place.parent) for path in entries(place.parent)
              if os.path.isdir(path)]
    near = difflib.get_close_matches(Path(dataset).name, beside, n=3, cutoff=0.6)
    remedy = f"did you mean {' or '.join(repr(str(Path(dataset).parent / name)) for name in near)}?" if near else \
        did_you_mean(dataset, DATASETS)
    raise ValueError(f"DATASET = {dataset!r} is neither the name of a data set nor a folder{looked}; {remedy}")
