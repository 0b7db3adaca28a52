// mien: a small deep learning library. This header includes all of it but what reads images and CSV files
// (mien/data/image.hpp, mien/data/csv.hpp) and the gradient check (mien/nn/gradient_check.hpp).
//
// A map, in the order in which data flows through training:
//   core/     Shape, Tensor, TensorView, bfloat16, Random, Threads, errors
//   data/     Dataset, Augmented, Batches
//   nn/       layers, Sequential, Residual, Concat, losses, initializers, freezing
//   kernels/  what computes: a plain reference beside each fast version
//   optim/    Sgd, Adam, AdamW, Schedule, WeightAverage
//   train/    fit, evaluate, Evaluation, Distillation, Progress, checkpoints
//   io/       save, load, deltas, safetensors, JSON
#pragma once

#include "mien/core/random.hpp"
#include "mien/core/tensor.hpp"
#include "mien/core/threads.hpp"
#include "mien/data/augmentation.hpp"
#include "mien/data/batches.hpp"
#include "mien/io/model_file.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/loss.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/prepared.hpp"
#include "mien/nn/sequential.hpp"
#include "mien/nn/shape_layers.hpp"
#include "mien/optim/average.hpp"
#include "mien/optim/optimizer.hpp"
#include "mien/optim/schedule.hpp"
#include "mien/train/distillation.hpp"
#include "mien/train/evaluate.hpp"
#include "mien/train/features.hpp"
#include "mien/train/fit.hpp"
#include "mien/train/progress.hpp"

#ifdef MIEN_PRECOMPILED
#include "mien/precompiled.hpp"
#endif
