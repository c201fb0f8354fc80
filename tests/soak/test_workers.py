"""make soak: workers that are spawned, as on macOS and Windows."""

import multiprocessing

import torch

from inside.data.loading import ImageDataset
from inside.data.sources import open_dataset
from inside.data.transforms import make_transform
from shared.images import GRAY


def test_datasets_can_be_sent_to_spawned_processes(scenes):
    source = open_dataset(str(scenes))
    dataset = ImageDataset(source.table.head(4), source.root, source.classes, make_transform(GRAY, 16))
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1,
                                         multiprocessing_context=multiprocessing.get_context("spawn"))
    assert torch.equal(torch.cat([images for images, _ in loader]), torch.stack([dataset[index][0] for index in range(4)]))
