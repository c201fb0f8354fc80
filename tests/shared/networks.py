"""Networks by name with random weights."""

from inside.models.build import build_network


def build(name, n_classes=4, image_size=33, **options):
    return build_network(name, n_classes, weights="random", image_size=image_size, options=options)[0]
