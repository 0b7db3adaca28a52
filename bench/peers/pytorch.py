#!/usr/bin/env python3
"""PyTorch's part of the comparison: whole steps of training and inference, answered line by line.

    pytorch.py                          requests "train", "infer", "run", "memory" as in bench/step_bench.cpp
    pytorch.py --export NETWORK FILE    the network as ONNX, any batch size

PyTorch is given what makes it fast on a CPU: channels_last, fused optimizers, autocast for bf16, gradients set to None.
The networks are those of examples/fer/networks.hpp.
"""

import logging
import sys

import torch
from torch import nn

from protocol import serve


class Atulapra(nn.Module):
    padding, dropout, fused = 0, (0.25, 0.25, 0.5), 2048

    def __init__(self):
        super().__init__()

        def convolution(channels, filters):
            return [nn.Conv2d(channels, filters, 3, padding=self.padding), nn.ReLU()]

        first, second, third = self.dropout
        self.features = nn.Sequential(
            *convolution(1, 32), *convolution(32, 64), nn.MaxPool2d(2), nn.Dropout(first) if first else nn.Identity(),
            *convolution(64, 128), nn.MaxPool2d(2), *convolution(128, 128), nn.MaxPool2d(2),
            nn.Dropout(second) if second else nn.Identity())
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(self.fused, 1024), nn.ReLU(), nn.Dropout(third), nn.Linear(1024, 7))

    def forward(self, x):
        return self.classifier(self.features(x))


class IExpressionNet(Atulapra):
    padding, dropout, fused = 1, (0, 0, 0.2), 4608


class Vgg(nn.Module):
    def __init__(self, widths):
        super().__init__()
        layers, channels = [], 1
        for width in widths:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(channels, 7))

    def forward(self, x):
        return self.classifier(self.features(x))


def make_network(name):
    """The network and the side of its input."""
    if name == "atulapra":
        return Atulapra(), 48
    if name == "iexpressionnet":
        return IExpressionNet(), 48
    if name == "mien-s":
        return Vgg((32, 64, 128, 256)), 44
    if name == "mien-b":
        return Vgg((64, 128, 256, 512)), 44
    raise ValueError("no network is called " + name)


def make_optimizer(name, net):
    """That of the recipe in examples/fer/networks.hpp, at a tenth of its rate (see bench/step_bench.cpp)."""
    if name == "atulapra":
        return torch.optim.Adam(net.parameters(), 1e-5, eps=1e-7, fused=True)
    if name == "iexpressionnet":
        return torch.optim.Adam(net.parameters(), 1e-4, weight_decay=1e-6, fused=True)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": others}], 0.01, momentum=0.9,
                           nesterov=True, fused=True)


def prepare(kind, name, batch, precision, threads):
    """A function that does one step."""
    batch = int(batch)
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    torch.set_flush_denormal(True)  # as mien does in its threads
    net, side = make_network(name)
    net = net.to(memory_format=torch.channels_last)
    smoothing = 0.1 if name.startswith("mien") else 0.0
    inputs = [torch.randn(batch, 1, side, side).contiguous(memory_format=torch.channels_last) for _ in range(4)]
    labels = [torch.randint(0, 7, (batch,)) for _ in range(4)]
    low = {"fp32": False, "bf16": True}[precision]
    number = 0
    if kind == "infer":
        net.eval()

        def step():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
                net(inputs[0])
        return step
    optimizer = make_optimizer(name, net)
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)

    def step():
        nonlocal number
        i = number % len(inputs)
        number += 1
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = criterion(net(inputs[i]), labels[i])
        loss.backward()
        optimizer.step()
    return step


def export(name, file):
    logging.disable(logging.WARNING)  # of operators that other packages would add
    net, side = make_network(name)
    net.eval()
    batch = torch.export.Dim("batch", min=1, max=4096)
    torch.onnx.export(net, (torch.randn(2, 1, side, side),), file, input_names=["images"], output_names=["logits"],
                      dynamic_shapes={"x": {0: batch}}, external_data=False, dynamo=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--export"]:
        export(*sys.argv[2:])
    else:
        serve(prepare)
