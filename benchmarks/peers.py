"""The frameworks a user might pick instead, each used as its own guides do and with its defaults.

Each function imports its framework and raises ImportError where that is absent. What costs time and teaches nothing
(progress bars, loggers, checkpoints) is switched off: to a framework's advantage.
"""

from __future__ import annotations

import logging
import os

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.task import (
    Clock,
    Outcome,
    PlainCNN,
    Task,
    cross_entropy,
    evaluate_in_plain_loop,
    fit_in_plain_loop,
    own_cache,
)


def lightning(task: Task) -> Outcome:
    """PyTorch Lightning: a LightningModule, a Trainer, and a DataLoader over a tensor in memory."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self, total_steps: int):
            super().__init__()
            self.model, self.total_steps = PlainCNN(image_size=task.image_size), total_steps

        def training_step(self, batch, _):
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            optimiser = torch.optim.Adam(self.parameters(), lr=task.learning_rate)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.learning_rate, self.total_steps)
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    class Epochs(L.Callback):
        def on_train_epoch_start(self, *_):
            clock.start_epoch()

        def on_train_epoch_end(self, *_):
            clock.end_epoch()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    image_set = task.images()
    L.seed_everything(task.seed, verbose=False)
    clock = Clock()
    images = (image_set.images.float() / 255 - 0.5) / 0.5
    train, test = (TensorDataset(images[list(part)], image_set.labels[list(part)]) for part in (task.train, task.test))
    loader = DataLoader(train, batch_size=task.batch_size, shuffle=True)
    module = Module(max(2, task.epochs * len(loader)))
    trainer = L.Trainer(
        max_epochs=task.epochs, accelerator="cpu", callbacks=[Epochs()], default_root_dir=task.work,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    return clock.outcome(evaluate_in_plain_loop(module.model, lambda: DataLoader(test, batch_size=task.batch_size)))


def fastai(task: Task) -> Outcome:
    """fastai: ImageDataLoaders over the files and ``fit_one_cycle``; its epochs are timed without validation."""
    own_cache(task, "FASTAI_HOME")
    import pandas as pd
    from fastai.callback.core import Callback
    from fastai.callback.schedule import Learner  # the learner with fit_one_cycle patched in
    from fastai.losses import CrossEntropyLossFlat
    from fastai.torch_core import set_seed
    from fastai.vision.core import PILImageBW
    from fastai.vision.data import ImageDataLoaders

    class Epochs(Callback):
        def before_train(self):
            clock.start_epoch()

        def after_train(self):
            clock.end_epoch()

    labels = task.images().labels.numpy()
    set_seed(task.seed)
    clock = Clock()
    held_out = task.test or task.train[: task.batch_size]  # it wants something to validate on
    rows = [(p, int(labels[n]), False) for n, p in zip(task.train, task.files(task.train), strict=True)]
    rows += [(p, int(labels[n]), True) for n, p in zip(held_out, task.files(held_out), strict=True)]
    table = pd.DataFrame(rows, columns=["file", "label", "held_out"])
    loaders = ImageDataLoaders.from_df(
        table, path="/", fn_col="file", label_col="label", valid_col="held_out", bs=task.batch_size, img_cls=PILImageBW
    )
    learner = Learner(loaders, PlainCNN(image_size=task.image_size), loss_func=CrossEntropyLossFlat(), cbs=[Epochs()])
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(task.epochs, task.learning_rate)
        if not task.test:
            return clock.outcome(None)
        return clock.outcome(float(learner.validate()[0]))


def monai(task: Task) -> Outcome:
    """MONAI: dictionary transforms, CacheDataset, and ThreadDataLoader as its guide to fast training advises."""
    from monai.data import CacheDataset, ThreadDataLoader
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityd
    from monai.utils import set_determinism

    labels = task.images().labels.numpy()
    set_determinism(task.seed)
    clock = Clock()
    transform = Compose(
        [LoadImaged("image"), EnsureChannelFirstd("image"), ScaleIntensityd("image", minv=0.0, maxv=1.0)]
    )

    def loader(numbers, *, shuffle: bool):
        items = [{"image": p, "label": int(labels[n])} for n, p in zip(numbers, task.files(numbers), strict=True)]
        dataset = CacheDataset(items, transform, progress=False)
        return ThreadDataLoader(dataset, batch_size=task.batch_size, shuffle=shuffle, num_workers=0)

    train = loader(task.train, shuffle=True)
    model = PlainCNN(image_size=task.image_size)
    fit_in_plain_loop(model, lambda: ((b["image"], b["label"]) for b in train), len(train), task, clock)
    if not task.test:
        return clock.outcome(None)
    test = loader(task.test, shuffle=False)
    return clock.outcome(evaluate_in_plain_loop(model, lambda: ((b["image"], b["label"]) for b in test)))


def keras(task: Task) -> Outcome:
    """Keras 3 on its torch backend: a Sequential model, ``compile`` and ``fit`` on arrays; constant learning rate."""
    os.environ["KERAS_BACKEND"] = "torch"
    own_cache(task, "KERAS_HOME")
    import keras
    from keras import layers

    class Epochs(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            clock.start_epoch()

        def on_epoch_end(self, epoch, logs=None):
            clock.end_epoch()

    image_set = task.images()
    keras.utils.set_random_seed(task.seed)
    clock = Clock()
    images = (image_set.images.numpy().transpose(0, 2, 3, 1) / np.float32(255)).astype(np.float32)
    labels = image_set.labels.numpy()
    model = keras.Sequential(
        [
            keras.Input((*images.shape[1:],)),
            layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(64, activation="relu"),
            layers.Dense(image_set.n_classes, activation="softmax"),
        ]
    )  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(task.learning_rate), loss="sparse_categorical_crossentropy")
    train, test = list(task.train), list(task.test)
    options = dict(batch_size=task.batch_size, verbose=0)
    model.fit(images[train], labels[train], epochs=task.epochs, callbacks=[Epochs()], **options)
    if not test:
        return clock.outcome(None)
    probabilities = np.asarray(model.predict(images[test], **options), dtype=np.float64)
    return clock.outcome(cross_entropy(np.log(np.maximum(probabilities, 1e-7)), labels[test]))
