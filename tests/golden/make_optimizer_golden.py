#!/usr/bin/env python3
"""Writes tests/data/optimizer_golden.inc: losses, optimizers and schedules as PyTorch computes them in double.

    python3 tests/golden/make_optimizer_golden.py     (needs torch)

All inputs are formulas of indices whose values a float holds exactly, and all settings are rounded to float as mien
stores them; so the tests rebuild them instead of reading them.
"""
import pathlib
import struct

import torch
from torch.optim import lr_scheduler as lrs

torch.set_default_dtype(torch.float64)
STEPS = 20
lines = []


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def write(name, values):
    numbers = [repr(float(v)) for v in values]
    lines.append('{"%s", {%s}},' % (name, ", ".join(numbers)))


# --- losses ---------------------------------------------------------------------------------------------------------

ROWS, CLASSES = 5, 7
logits = torch.tensor([[((r * 31 + c * 17) % 23 - 11) / 4 for c in range(CLASSES)] for r in range(ROWS)])
labels = torch.tensor([(r * 3 + 1) % CLASSES for r in range(ROWS)])
# Most of a row on its label, some on the next class and a quarter spread over two others.
soft = torch.zeros(ROWS, CLASSES)
for r in range(ROWS):
    for offset, share in ((0, 8), (1, 4), (3, 3), (4, 1)):
        soft[r, (int(labels[r]) + offset) % CLASSES] += share / 16
weights = torch.tensor([(c * 5 % 7 + 1) / 4 for c in range(CLASSES)])


def loss_golden(name, target, weight=None, smoothing=0.0, scale=1.0):
    z = logits.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(z, target, weight=weight, label_smoothing=f32(smoothing)) * scale
    loss.backward()
    write(name + ".loss", [loss.item()])
    write(name + ".gradient", z.grad.flatten().tolist())


loss_golden("hard", labels)
loss_golden("hard_smooth", labels, smoothing=0.1)
loss_golden("hard_weights", labels, weights)
loss_golden("hard_weights_smooth", labels, weights, 0.1)
loss_golden("soft", soft)
loss_golden("soft_smooth", soft, smoothing=0.2)
# PyTorch divides by the number of rows here, mien by the weight of the targets.
weighted_mean = ROWS / (soft * weights).sum().item()
loss_golden("soft_weights", soft, weights, scale=weighted_mean)
loss_golden("soft_weights_smooth", soft, weights, 0.1, scale=weighted_mean)
write("softmax", torch.softmax(logits, 1).flatten().tolist())

outputs = logits.clone().requires_grad_()
mse = torch.nn.functional.mse_loss(outputs, soft)
mse.backward()
write("mse.loss", [mse.item()])
write("mse.gradient", outputs.grad.flatten().tolist())

# --- optimizers: 20 steps on 1/2 sum h (p - q)^2 with a disturbed gradient ------------------------------------------

NAMES = ("features.0.weight", "features.0.bias", "features.1.weight", "classifier.weight")
SIZES = (37, 3, 5, 18)
TOTAL = sum(SIZES)


def flat(formula):
    return torch.tensor([formula(i) for i in range(TOTAL)])


H = flat(lambda i: (i * 7 % 11 + 1) / 8)
Q = flat(lambda i: (i * 3 % 13 - 6) / 4)
START = flat(lambda i: (i * 5 % 23 - 11) / 8)


def disturbance(step):
    return flat(lambda i: ((i * 13 + step * 29) % 17 - 8) / 16)


def run(name, make, clip_value=0, clip_norm=0, frozen=(), rate=None):
    """make(parameters by name) gives the optimizer; rate(step) multiplies its learning rates."""
    parts = [torch.nn.Parameter(p.clone()) for p in START.split(SIZES)]
    named = dict(zip(NAMES, parts))
    optimizer = make({n: p for n, p in named.items() if n not in frozen})
    base = [group["lr"] for group in optimizer.param_groups]
    losses = []
    for step in range(STEPS):
        whole = torch.cat([p.detach() for p in parts])
        losses.append((H * (whole - Q) ** 2).sum().item() / 2)
        gradient = (H * (whole - Q) + disturbance(step)).split(SIZES)
        for n, p, g in zip(NAMES, parts, gradient):
            p.grad = None if n in frozen else g.clone()
        trained = [p for p in parts if p.grad is not None]
        if clip_value:
            torch.nn.utils.clip_grad_value_(trained, clip_value)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(trained, clip_norm)
        if rate:
            for group, lr in zip(optimizer.param_groups, base):
                group["lr"] = lr * rate(step)
        optimizer.step()
    write(name + ".losses", losses)
    write(name + ".values", torch.cat([p.detach() for p in parts]).tolist())


def sgd(**settings):
    return lambda named: torch.optim.SGD(named.values(), **{k: f(v) for k, v in settings.items()})


def f(value):
    if isinstance(value, bool):
        return value
    return tuple(f32(v) for v in value) if isinstance(value, tuple) else f32(value)


# The defaults of PyTorch are doubles.
ADAM = dict(betas=(0.9, 0.999), eps=1e-8)


def adam(kind=torch.optim.Adam, **settings):
    settings = ADAM | settings
    return lambda named: kind(named.values(), **{k: f(v) for k, v in settings.items()})


def grouped(kind, groups, **settings):
    """groups: (names, settings of the group)."""
    def make(named):
        return kind([dict(params=[named[n] for n in names], **{k: f(v) for k, v in own.items()})
                     for names, own in groups], **{k: f(v) for k, v in settings.items()})
    return make


DECAYED = ("features.0.weight", "classifier.weight")
SPARED = ("features.0.bias", "features.1.weight")

run("sgd", sgd(lr=0.05))
run("sgd_decay", sgd(lr=0.05, weight_decay=0.125))
run("sgd_momentum", sgd(lr=0.05, momentum=0.9))
run("sgd_momentum_decay", sgd(lr=0.05, momentum=0.9, weight_decay=0.125))
run("sgd_nesterov", sgd(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.125))
run("sgd_clip_value", sgd(lr=0.05, momentum=0.9), clip_value=0.5)
run("sgd_clip_norm", sgd(lr=0.05, momentum=0.9), clip_norm=2)
run("sgd_clip_both", sgd(lr=0.05, momentum=0.9), clip_value=0.5, clip_norm=2)
run("sgd_groups", grouped(torch.optim.SGD, [
    (("classifier.weight",), dict(lr=0.0625 * 2)),
    (("features.1.weight",), dict(weight_decay=0.0)),
    (("features.0.weight", "features.0.bias"), {}),
], lr=0.0625, momentum=0.9, weight_decay=0.125))
run("sgd_weights_only", grouped(torch.optim.SGD, [(DECAYED, {}), (SPARED, dict(weight_decay=0.0))],
                                lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.125))
run("sgd_frozen", sgd(lr=0.05, momentum=0.9, weight_decay=0.125), clip_norm=2,
    frozen=("features.0.weight", "features.0.bias"))
run("adam", adam(lr=0.05))
run("adam_settings", adam(lr=0.03, betas=(0.8, 0.99), eps=1e-3))
run("adam_decay", adam(lr=0.05, weight_decay=0.125))
run("adam_rate_decay", adam(lr=0.05), rate=lambda step: 1 / (1 + f32(0.1) * step))
run("adam_clip_norm", adam(lr=0.05), clip_norm=2)
run("adam_frozen", adam(lr=0.05, weight_decay=0.125), frozen=("features.0.weight",))
run("adamw", adam(torch.optim.AdamW, lr=0.05, weight_decay=0.125))
run("adamw_weights_only", grouped(torch.optim.AdamW, [(DECAYED, {}), (SPARED, dict(weight_decay=0.0))],
                                  lr=0.05, weight_decay=0.125, **ADAM))
run("adamw_clip_value", adam(torch.optim.AdamW, lr=0.05, weight_decay=0.125), clip_value=0.5)

# --- schedules: the rates of 40 steps at a base rate of 1 ------------------------------------------------------------


def schedule(name, make, steps=40, metrics=None):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if metrics is not None:
            scheduler.step(metrics(step))
        elif step + 1 < steps:
            scheduler.step()
    write("schedule." + name, rates)


schedule("step", lambda o: lrs.StepLR(o, 7, 0.5))
schedule("cosine", lambda o: lrs.CosineAnnealingLR(o, 40, 0.01))
schedule("cosine_warm_up", lambda o: lrs.SequentialLR(
    o, [lrs.LinearLR(o, 1 / 5, 1, 4), lrs.CosineAnnealingLR(o, 35, 0)], [5]))
schedule("one_cycle", lambda o: lrs.OneCycleLR(o, 1.0, total_steps=40, cycle_momentum=False))
schedule("one_cycle_settings", lambda o: lrs.OneCycleLR(
    o, 1.0, total_steps=33, pct_start=0.25, div_factor=10, final_div_factor=100, cycle_momentum=False), steps=33)
schedule("one_cycle_short", lambda o: lrs.OneCycleLR(o, 1.0, total_steps=3, cycle_momentum=False), steps=3)


def metric(step):
    """Falls, then stays about where it is."""
    return max(4 - step / 2, 1) + (step * 7 % 5) / 64


schedule("plateau_min", lambda o: lrs.ReduceLROnPlateau(o, "min", 0.5, 3, eps=0), metrics=metric)
schedule("plateau_max", lambda o: lrs.ReduceLROnPlateau(o, "max", 0.25, 4, threshold=0.02, eps=0),
         metrics=lambda step: 5 - metric(step))

target = pathlib.Path(__file__).resolve().parent.parent / "data" / "optimizer_golden.inc"
target.write_text("// Made by tests/golden/make_optimizer_golden.py with PyTorch %s.\n%s\n"
                  % (torch.__version__.split("+")[0], "\n".join(lines)))
print(target.name, target.stat().st_size, "bytes")
