"""The reference CNN and its training step in PyTorch; run by frameworks.py elsewhere.

Prints, as JSON, the figures of loop_vs_fit.py for a batch that stays in memory.
"""

# Installed in another environment.
# pyright: reportMissingImports=false

import json
import sys
import time

import numpy as np
import torch
from torch import nn


def _network() -> nn.Module:
    """Returns the network in channels_last, with kernels by Glorot's rule and biases of zero."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
    return network.to(memory_format=torch.channels_last)


def _measure(images: np.ndarray, labels: np.ndarray, steps: int, warm_up: int) -> dict[str, float]:
    network = _network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels)

    def train(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x.float() / 255), y)
            loss.backward()
            optimizer.step()

    train(warm_up)
    wall, cpu = time.perf_counter(), time.process_time()
    train(steps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    count = steps * len(labels)
    return {"examples_per_s": count / wall, "cpu_us_per_example": 1e6 * cpu / count}


if __name__ == "__main__":
    data, examples, warm_up, *sizes = sys.argv[1:]
    arrays = np.load(data)
    figures = {}
    for size in map(int, sizes):
        images, labels = arrays["images"][:size], arrays["labels"][:size]
        taken = _measure(images, labels, max(2, int(examples) // size), int(warm_up))
        figures |= {f"{figure}@{size}": value for figure, value in taken.items()}
    print(json.dumps(figures))
