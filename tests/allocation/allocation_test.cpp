// Inference and training steps allocate nothing after the first: counted at operator new, so in a program of its own.
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "../asked_isa.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/prepared.hpp"
#include "mien/nn/shape_layers.hpp"

namespace {

std::atomic<long> allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  void* pointer = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment + alignment);
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

}  // namespace

// Inlined, GCC takes malloc's memory freed by delete for a mistake (-Wmismatched-new-delete).
#define NOT_INLINED __attribute__((noinline))

NOT_INLINED void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
NOT_INLINED void* operator new[](std::size_t size) { return counted(size, alignof(std::max_align_t)); }
NOT_INLINED void* operator new(std::size_t size, std::align_val_t a) {
  return counted(size, static_cast<std::size_t>(a));
}
NOT_INLINED void* operator new[](std::size_t size, std::align_val_t a) {
  return counted(size, static_cast<std::size_t>(a));
}
NOT_INLINED void operator delete(void* p) noexcept { std::free(p); }
NOT_INLINED void operator delete[](void* p) noexcept { std::free(p); }
NOT_INLINED void operator delete(void* p, std::size_t) noexcept { std::free(p); }
NOT_INLINED void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
NOT_INLINED void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
NOT_INLINED void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
NOT_INLINED void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
NOT_INLINED void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

using namespace mien;

enum class Mode { inference, prepared, training };
constexpr const char* names[] = {"inference", "prepared inference", "training"};

/// Allocations during twenty passes after the first; also prints them.
template <class T>
long count(const char* what, int thread_count, Mode mode) {
  using S = Sequential<T>;
  S net{Conv2d{.filters = 8, .padding = 1},
        BatchNorm2d{},
        Relu{},
        Conv2d{.filters = 16, .padding = 1},
        BatchNorm2d{},
        Relu{},
        Conv2d{.filters = 16, .padding = 1},  // in inference with what follows, by Winograd's filtering
        Relu{},
        MaxPool2d{2},
        Residual<T>{S{Conv2d{.filters = 8, .padding = 1, .groups = 2}, LeakyRelu{}},
                    S{Conv2d{.filters = 8, .kernel = 1}}},
        Concat<T>{S{}, S{AveragePool2d{.window = 3, .stride = 1, .padding = 1}, Sigmoid{}}},
        Conv2d{.filters = 6, .kernel = 3, .stride = 2},
        AdaptiveAveragePool2d{2},
        Dropout{},
        Flatten{},
        Dense{9},
        Tanh{},
        Dense{7},
        Softmax{}};
  net.build({18, 18, 1}, 1);
  const Threads threads(thread_count);
  Workspace workspace(threads);
  const Prepared<T> prepared(net, 5);
  Tensor<T> x({5, 18, 18, 1}), y({5, 7}), dx(x.shape());
  std::vector<Tensor<parameter_t<T>>> gradients;
  std::vector<TensorView<parameter_t<T>>> views;
  for (const auto& p : net.parameters()) gradients.emplace_back(p.value.shape());
  for (auto& g : gradients) views.push_back(g.view());
  long before = 0;
  for (std::uint64_t step = 0; step <= 20; ++step) {
    if (step == 1) before = allocations;
    if (mode == Mode::training) {
      net.forward(x.view(), y.view(), workspace, 1, step);
      net.backward(x.view(), y.view(), y.view(), dx.view(), views, workspace, 1, step);
    } else if (mode == Mode::prepared) {
      prepared.infer(x.view(), y.view(), workspace);
      prepared.infer(x.view().slice(0, 2), y.view().slice(0, 2), workspace);
    } else {
      net.infer(x.view(), y.view(), workspace);
      net.infer(x.view().slice(0, 2), y.view().slice(0, 2), workspace);  // a smaller batch fits as well
    }
  }
  const long made = allocations - before;
  std::printf("%s, %d thread(s), %s: %ld allocations\n", what, thread_count, names[static_cast<int>(mode)], made);
  return made;
}

}  // namespace

int main() {
  if (test::asked_isa_is_missing()) return test::skipped;
  long made = 0;
  for (int threads : {1, 3})
    for (const Mode mode : {Mode::inference, Mode::prepared, Mode::training}) {
      made += count<float>("float", threads, mode);
      made += count<bfloat16>("bfloat16", threads, mode);
    }
  // The counter counts. Called by name, as a new-expression may be left out by the compiler.
  const long before = allocations;
  ::operator delete(::operator new(1));
  if (allocations != before + 1) made = -1;
  return made == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
