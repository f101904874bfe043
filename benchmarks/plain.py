"""What most would write without this library: a PyTorch script, with images on disk or in memory.

Both train the same network by the same arithmetic; nothing here was made slow on purpose or fast by design.
"""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.task import Clock, Outcome, PlainCNN, Task, evaluate_in_plain_loop, fit_in_plain_loop

N_WORKERS = 2  # processes that decode images for the script


def script(task: Task) -> Outcome:
    """Train from PNG files in class folders: ImageFolder, torchvision's transforms, a DataLoader with workers."""
    torch.manual_seed(task.seed)
    clock = Clock()
    transform = transforms.Compose([transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    dataset = ImageFolder(str(task.work / "images"), transform=transform)
    place = {path: index for index, (path, _) in enumerate(dataset.samples)}
    train, test = (Subset(dataset, [place[p] for p in task.files(part)]) for part in (task.train, task.test))
    train_loader = DataLoader(train, batch_size=task.batch_size, shuffle=True, num_workers=N_WORKERS)
    test_loader = DataLoader(test, batch_size=task.batch_size, num_workers=N_WORKERS)
    model = PlainCNN(image_size=task.image_size)
    fit_in_plain_loop(model, lambda: train_loader, len(train_loader), task, clock)
    return clock.outcome(evaluate_in_plain_loop(model, lambda: test_loader))


def in_memory(task: Task) -> Outcome:
    """Train from one float tensor: TensorDataset and a DataLoader."""
    image_set = task.images()
    torch.manual_seed(task.seed)
    clock = Clock()
    images = (image_set.images.float() / 255 - 0.5) / 0.5
    train, test = (TensorDataset(images[list(part)], image_set.labels[list(part)]) for part in (task.train, task.test))
    train_loader = DataLoader(train, batch_size=task.batch_size, shuffle=True)
    test_loader = DataLoader(test, batch_size=task.batch_size)
    model = PlainCNN(image_size=task.image_size)
    fit_in_plain_loop(model, lambda: train_loader, len(train_loader), task, clock)
    return clock.outcome(evaluate_in_plain_loop(model, lambda: test_loader))
