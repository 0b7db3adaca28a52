// The same bits for any number of threads and every time, and one network for many threads at once.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/prepared.hpp"
#include "nn_test.hpp"

using namespace mien;

namespace {

/// Large enough for every loop to be cut into several pieces.
template <class T>
Sequential<T> network() {
  using S = Sequential<T>;
  S net{Conv2d{.filters = 24, .padding = 1},
        BatchNorm2d{},
        Relu{},
        MaxPool2d{2},
        Residual<T>{S{Conv2d{.filters = 24, .padding = 1, .groups = 24}, BatchNorm2d{}}},
        Concat<T>{S{}, S{Conv2d{.filters = 40, .kernel = 1}, LeakyRelu{}}},
        Dropout{0.3f},
        AveragePool2d{2},
        Dense{33},
        Tanh{},
        Dense{7}};
  net.build({24, 24, 3}, 8);
  return net;
}

/// One that takes Winograd's way, forward and backward, where the instruction set has it.
template <class T>
Sequential<T> network_of_tiles() {
  const Conv2d same{.filters = 32, .padding = 1};
  Sequential<T> net{same, BatchNorm2d{}, Relu{}, same, Relu{}, MaxPool2d{2}, same, BatchNorm2d{}, Relu{}, Dense{7}};
  net.build({24, 24, 3}, 8);
  return net;
}

/// Gray images, then few pixels of many channels: the first and the last layers of mien-s.
template <class T>
Sequential<T> network_of_ends() {
  const auto wide = [](index_t filters) { return Conv2d{.filters = filters, .padding = 1, .bias = false}; };
  Sequential<T> net{wide(32),      BatchNorm2d{}, Relu{},    wide(128),     BatchNorm2d{},
                    Relu{},        MaxPool2d{2},  wide(256), BatchNorm2d{}, Relu{},
                    wide(256),     BatchNorm2d{}, Relu{},    MaxPool2d{2},  GlobalAveragePool{},
                    Dropout{0.3f}, Dense{7}};
  net.build({11, 11, 1}, 8);
  return net;
}

template <class T>
void check_determinism(const Sequential<T>& net, index_t batch) {
  const Tensor<T> x = test::random_tensor<T>(net.input_shape().with_batch(batch), 1);
  const Tensor<T> dy = test::random_tensor<T>({batch, 7}, 2);
  const Threads one(1);
  const test::Passed<T> expected(net, x, dy, one, 5, 6);
  const Prepared<T> prepared(net, batch);
  Workspace alone(one);
  const Tensor<T> y = net.infer(x.view(), alone);
  Tensor<T> of_prepared(y.shape());
  for (const int count : {1, 2, 3}) {
    const Threads threads(count);
    Workspace workspace(threads);
    CAPTURE(count);
    for (int round = 0; round < 2; ++round) {
      CHECK(test::Passed<T>(net, x, dy, threads, 5, 6).same(expected));
      CHECK(test::same_bits(net.infer(x.view(), workspace), y));
      prepared.infer(x.view(), of_prepared.view(), workspace);
      CHECK(test::same_bits(of_prepared, y));
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("determinism: forward, backward and inference by 1, 2 and 3 threads, again and again", T, float,
                   bfloat16) {
  check_determinism(network<T>(), 9);
  check_determinism(network_of_tiles<T>(), 9);
  check_determinism(network_of_ends<T>(), 17);
}

TEST_CASE_TEMPLATE("determinism: another step or seed draws other zeros", T, float, bfloat16) {
  const Sequential<T> net = network<T>();
  const Tensor<T> x = test::random_tensor<T>({9, 24, 24, 3}, 1), dy = test::random_tensor<T>({9, 7}, 2);
  const Threads one(1);
  const test::Passed<T> expected(net, x, dy, one, 5, 6);
  CHECK_FALSE(test::Passed<T>(net, x, dy, one, 5, 7).same(expected));
  CHECK_FALSE(test::Passed<T>(net, x, dy, one, 6, 6).same(expected));
}

TEST_CASE_TEMPLATE("concurrency: two hundred threads infer on one network at once", T, float, bfloat16) {
  constexpr std::size_t count = 200;
  for (const Sequential<T>& net : {network<T>(), network_of_tiles<T>()}) {
    const Threads shared(2);
    std::vector<Tensor<T>> inputs, expected;
    Workspace workspace;
    for (std::uint64_t i = 0; i < 8; ++i) {
      inputs.push_back(test::random_tensor<T>({static_cast<index_t>(i % 3 + 1), 24, 24, 3}, i));
      expected.push_back(net.infer(inputs.back().view(), workspace));
    }
    std::vector<int> wrong(count);
    std::vector<std::thread> threads;
    std::atomic<bool> begin{false};  // all at once, not as they are made
    for (std::size_t i = 0; i < count; ++i) {
      threads.emplace_back([&, i] {
        // Half of them share a pool; each has its own workspace.
        Workspace own(i % 2 ? &shared : nullptr);
        begin.wait(false);
        for (int round = 0; round < 3; ++round)
          wrong[i] += !test::same_bits(net.infer(inputs[i % 8].view(), own), expected[i % 8]);
      });
    }
    begin = true;
    begin.notify_all();
    for (auto& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(count));
  }
}
