// MaxPool2d, AveragePool2d, AdaptiveAveragePool2d, GlobalAveragePool.
#pragma once

#include "mien/nn/average_pool.hpp"
#include "mien/nn/max_pool.hpp"
