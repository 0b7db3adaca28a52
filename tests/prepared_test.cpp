// Prepared: the answers of Sequential::infer, with weights packed once.
#include "mien/nn/prepared.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/shape_layers.hpp"
#include "nn_test.hpp"

using namespace mien;

namespace {

/// Convolutions that take every way there is: gray, padded, unpadded, grouped, strided, dense.
template <class T>
Sequential<T> network() {
  Sequential<T> net{Conv2d{.filters = 24, .padding = 1},
                    BatchNorm2d{},
                    Relu{},
                    Conv2d{.filters = 32},
                    Residual<T>{Sequential<T>{Conv2d{.filters = 32, .padding = 1}, Relu{}}},
                    MaxPool2d{2},
                    Conv2d{.filters = 40, .stride = 2, .groups = 8},
                    Flatten{},
                    Dense{70},
                    Relu{},
                    Dense{7}};
  net.build({22, 18, 1}, 3);
  return net;
}

}  // namespace

TEST_CASE_TEMPLATE("prepared: the same answers, for its batch and for others", T, float, double, bfloat16) {
  const Sequential<T> net = network<T>();
  for (const index_t batch : {1, 3, 20, 40}) {
    CAPTURE(batch);
    const Prepared<T> prepared(net, batch);
    for (const index_t given : {batch, index_t{2}, index_t{0}}) {
      const Tensor<T> x = test::random_tensor<T>({given, 22, 18, 1}, 5);
      Workspace workspace;
      const Tensor<T> expected = net.infer(x.view(), workspace);
      Tensor<T> y(expected.shape());
      for (int round = 0; round < 2; ++round) {
        prepared.infer(x.view(), y.view(), workspace);
        CHECK(test::same_bits(y, expected));
      }
    }
  }
  CHECK(net.packed_bytes({0, 22, 18, 1}) == 0);
}

TEST_CASE("prepared: keeps the network as it was, and is shared by threads") {
  Sequential<bfloat16> net = network<bfloat16>();
  const Prepared<bfloat16> prepared(net, 4);
  const Tensor<bfloat16> x = test::random_tensor<bfloat16>({4, 22, 18, 1}, 5);
  Workspace workspace;
  const Tensor<bfloat16> expected = net.infer(x.view(), workspace);
  for (auto& p : net.parameters())
    for (float& value : p.value) value = 0;
  std::vector<int> wrong(20);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      Workspace own;
      Tensor<bfloat16> y(expected.shape());
      for (int round = 0; round < 5; ++round) {
        prepared.infer(x.view(), y.view(), own);
        count += !test::same_bits(y, expected);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(20));
}

TEST_CASE("prepared: what is refused") {
  CHECK_THROWS_AS(Prepared<float>(Sequential<float>{Relu{}}), ArgumentError);
  Sequential<float> net{Relu{}};
  net.build({3});
  CHECK_THROWS_AS(Prepared<float>(net, 0), ArgumentError);
  const Prepared<float> prepared(net);
  Tensor<float> x({1, 4}), y({1, 3});
  Workspace workspace;
  CHECK_THROWS_AS(prepared.infer(x.view(), y.view(), workspace), ShapeError);
}
