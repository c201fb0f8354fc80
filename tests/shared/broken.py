"""Image files as they should not be, and odd ones that are right: functions that write one into a path."""

import io
import os
import socket
import struct
import zlib

import numpy as np
from PIL import Image

RAMP = np.linspace(0, 65535, 120).astype(np.uint16).reshape(10, 12)


def picture(mode="RGB", size=(12, 10), color=(200, 30, 90)):
    return Image.new("RGB", size, color).convert(mode)


def saved(image, **options):
    """A writer of an image in the format of the path's ending."""
    return lambda path: image.save(path, **options)


def as_bytes(form, image=None, **options):
    file = io.BytesIO()
    (image or noise()).save(file, form, **options)
    return file.getvalue()


def noise(size=(64, 48)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def content(data):
    return lambda path: path.write_bytes(data)


def png_of(width, height, *, bits=8, kind=2, data=b""):
    """A PNG with the header that is given, whatever its pixels."""
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def frames(path):
    first, *others = (picture(color=color) for color in ((200, 30, 90), (0, 255, 0), (0, 0, 255)))
    first.save(path, save_all=True, append_images=others, **({"lossless": True} if path.suffix == ".webp" else {}))


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # seen upright it is turned by 90 degrees clockwise
    image = picture()
    image.paste("white", (6, 0, 12, 10))
    image.save(path, exif=exif)


def bound_socket(path):
    where = os.getcwd()
    os.chdir(path.parent)  # the paths of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(where)


def palette_with_transparency(path):
    image = picture().quantize(4)
    image.save(path, transparency=image.getpixel((0, 0)))


BAD = {  # name: (file, how it is written, the reason that it gets)
    "empty": ("x.jpg", content(b""), "an empty file"),
    "truncated JPEG": ("x.jpg", content(as_bytes("JPEG")[:-400]), r"image file is truncated \(\d+ bytes not processed\)"),
    "truncated PNG": ("x.png", content(as_bytes("PNG")[:-400]), r"image file is truncated.*"),
    "header of a PNG alone": ("x.png", content(as_bytes("PNG")[:20]), r".+"),
    "EPS called .png": ("x.png", content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 10\n%%EndComments\nshowpage\n"), r"not an image file"),
    "truncated WebP": ("x.webp", content(as_bytes("WEBP")[:-400]), r".+"),
    "truncated GIF": ("x.gif", content(as_bytes("GIF")[:300]), r".+"),
    "text": ("x.jpg", content(b"no image"), "not an image file"),
    "a web page": ("x.jpg", content(b"<!DOCTYPE html><title>404</title>"), "not an image file but a web page"),
    "HEIC called .jpg": ("x.jpg", content(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99), "not an image file but HEIC"),
    "SVG called .png": ("x.png", content(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"), "not an image file but SVG"),
    "HEIC": ("x.HEIC", content(b"\0\0\0\x18ftypheic"), "HEIC is not supported: convert it to JPEG or PNG"),
    "SVG": ("x.svg", content(b"<svg/>"), "SVG is not supported: convert it to JPEG or PNG"),
    "raw": ("x.nef", content(b"II*\0"), "a camera's raw format is not supported: convert it to JPEG or PNG"),
    "bomb": ("x.png", content(png_of(30_000, 30_000)), "more than 178,956,970 pixels: make the image smaller"),
    "bomb of one row": ("x.png", content(png_of(2**31 - 1, 1)), r"more than 178,956,970 pixels.*|.*too large.*"),
    "no pixels": ("x.png", content(png_of(0, 0)), r".+"),
    "floating point": ("x.tif", saved(Image.new("F", (12, 10), 0.5)), "floating-point values: convert the image to 8 or 16 bits"),
    "32 bits": ("x.tif", saved(Image.new("I", (12, 10), 70000)), "32-bit values beyond the 16-bit range: convert the image to 8 or 16 bits"),
    "named pipe": ("x.jpg", os.mkfifo, "not a file, but a named pipe, a socket or a device"),
    "socket": ("x.png", bound_socket, "not a file, but a named pipe, a socket or a device"),
    "device": ("x.png", lambda path: path.symlink_to("/dev/zero"), "not a file, but a named pipe, a socket or a device"),
    "broken link": ("x.jpg", lambda path: path.symlink_to("nowhere.jpg"), "a link to a file that does not exist"),
    "link to itself": ("x.jpg", lambda path: path.symlink_to(path.name), "a link to a file that does not exist"),
    "loop of folders": ("loop", lambda path: path.symlink_to(".."), "a link to a folder above it, or to one that is listed already"),
    "link to the class": ("again", lambda path: path.symlink_to("."), "a link to a folder above it, or to one that is listed already"),
    "name that is not UTF-8": (os.fsdecode(b"caf\xe9.jpg"), saved(picture()), "its name is not valid UTF-8: rename it"),
    "folder that is not UTF-8": (os.fsdecode(b"caf\xe9"), os.mkdir, "its name is not valid UTF-8: rename it"),
}

RIGHT = {  # name: (file, how it is written, size, the colour of the pixel at (1, 1) or None, what is told)
    "PNG called .jpg": ("x.jpg", content(as_bytes("PNG", picture())), (12, 10), (200, 30, 90), ""),
    "JPEG called .png": ("x.png", content(as_bytes("JPEG", picture(), quality=100)), (12, 10), (200, 30, 90), ""),
    "1×1": ("x.png", saved(picture(size=(1, 1))), (1, 1), None, ""),
    "capital ending": ("x.JPEG", saved(picture(), quality=100), (12, 10), (200, 30, 90), ""),
    "animated GIF": ("x.gif", frames, (12, 10), (200, 30, 90), "1 image is animated, such as a/x.gif: the first frame is used."),
    "animated WebP": ("x.webp", frames, (12, 10), (200, 30, 90), "1 image is animated, such as a/x.webp: the first frame is used."),
    "animated PNG": ("x.png", frames, (12, 10), (200, 30, 90), "1 image is animated, such as a/x.png: the first frame is used."),
    "dim 16-bit grey": ("x.png", saved(Image.fromarray(RAMP // 20)), (12, 10), tuple([round(RAMP[1, 1] // 20 / 257)] * 3),
                        "1 image is dark, such as a/x.png, using less than a sixteenth of the range of 16 bits, so that 17 levels of grey are "
                        "left at most: stretch the values to 0 to 65,535 first."),
    "16-bit grey": ("x.png", saved(Image.fromarray(RAMP + 0)), (12, 10), tuple([round(RAMP[1, 1] / 257)] * 3), ""),
    "16-bit colour": ("x.png", content(png_of(12, 10, bits=16, data=(b"\0" + struct.pack(">3H", 51400, 7710, 23130) * 12) * 10)),
                      (12, 10), (200, 30, 90), ""),
    "CMYK": ("x.jpg", saved(picture("CMYK"), quality=100), (12, 10), (200, 30, 90), ""),
    "palette": ("x.png", saved(picture().quantize(4)), (12, 10), (200, 30, 90), ""),
    "palette with transparency": ("x.png", palette_with_transparency, (12, 10), (255, 255, 255), ""),
    "alpha": ("x.png", saved(Image.new("RGBA", (12, 10), (200, 30, 90, 0))), (12, 10), (255, 255, 255), ""),
    "grey with alpha": ("x.png", saved(Image.new("LA", (12, 10), (40, 255))), (12, 10), (40, 40, 40), ""),
    "bits": ("x.png", saved(Image.new("1", (12, 10), 1)), (12, 10), (255, 255, 255), ""),
    "EXIF-rotated": ("x.jpg", turned, (10, 12), (200, 30, 90), ""),
    "EXIF of rubbish": ("x.jpg", saved(picture(), quality=100, exif=b"Exif\0\0II*\0\xff\xff\xff\xffrubbish"), (12, 10), (200, 30, 90), ""),
    "link within": ("x.png", lambda path: path.symlink_to("0.png"), (12, 10), None, ""),
}
