// The other layers beside oneDNN's, in turns: dense, batch normalization, pooling, ReLU; one thread, images NHWC, 64 of
// them, oneDNN's weights in the layout it prefers. mien's layers run as networks of one layer (of two, where oneDNN
// fuses two), the way a user meets them.
//
//   onednn_layers_bench --benchmark_format=json        (ONEDNN_MAX_CPU_ISA=AVX2 and MIEN_ISA=avx2: with AVX2 alone)
#include <oneapi/dnnl/dnnl.hpp>

#include "conv2d_cases.hpp"
#include "mien/core/cpu.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/sequential.hpp"
#include "onednn_peer.hpp"

namespace {

using namespace mien;
using namespace mien::bench;
using dnnl::memory;
using tag = dnnl::memory::format_tag;
using kind = dnnl::prop_kind;

enum class Pass { forward, backward, backward_data, backward_weights };

std::string name(Pass pass) {
  constexpr const char* names[] = {"forward", "backward", "backward_data", "backward_weights"};
  return names[static_cast<int>(pass)];
}

/// A network of mien in training, with its operands.
template <class T>
class Ours {
 public:
  using P = parameter_t<T>;

  Ours(Sequential<T> net, const Shape& input, index_t batch, Pass pass) : net_(std::move(net)), pass_(pass) {
    net_.build(input, 1);
    x_ = random_tensor<T>(input.size() * batch, 1);
    y_ = random_tensor<T>(net_.output_shape().size() * batch, 2);
    dy_ = random_tensor<T>(y_.size(), 3);
    x_shape_ = input.with_batch(batch);
    y_shape_ = net_.output_shape().with_batch(batch);
    if (pass != Pass::backward_weights) dx_ = random_tensor<T>(x_.size(), 4);
    for (const auto& p : net_.parameters()) {
      gradients_.push_back(pass == Pass::backward_data ? Tensor<P>() : Tensor<P>(p.value.shape()));
      views_.push_back(pass == Pass::backward_data ? TensorView<P>() : gradients_.back().view());
    }
    forward();
  }
  void run() {
    if (pass_ == Pass::forward) return forward();
    const TensorView<const T> x(x_.data(), x_shape_), y(y_.data(), y_shape_), dy(dy_.data(), y_shape_);
    const TensorView<T> dx = pass_ == Pass::backward_weights ? TensorView<T>() : TensorView<T>(dx_.data(), x_shape_);
    net_.backward(x, y, dy, dx, views_, workspace_, 1, 0);
  }

 private:
  void forward() {
    net_.forward(TensorView<const T>(x_.data(), x_shape_), TensorView<T>(y_.data(), y_shape_), workspace_, 1, 0);
  }

  Sequential<T> net_;
  Pass pass_;
  Workspace workspace_;
  Tensor<T> x_, y_, dy_, dx_;
  Shape x_shape_, y_shape_;
  std::vector<Tensor<P>> gradients_;
  std::vector<TensorView<P>> views_;
};

template <class T>
class DensePeer : public OnednnPeer {
 public:
  DensePeer(index_t batch, index_t inputs, index_t outputs, Pass pass) {
    const memory::dims w_dims{outputs, inputs};
    const memory::desc x({batch, inputs}, onednn_type<T>, tag::nc), y({batch, outputs}, onednn_type<T>, tag::nc),
        w(w_dims, onednn_type<T>, tag::any), dw(w_dims, memory::data_type::f32, tag::any),
        b({outputs}, memory::data_type::f32, tag::a);
    const dnnl::inner_product_forward::primitive_desc forward({kind::forward_training, x, w, b, y}, engine_);
    if (pass == Pass::forward) {
      primitive_ = dnnl::inner_product_forward(forward);
      add(DNNL_ARG_SRC, x);
      add(DNNL_ARG_WEIGHTS, forward.weights_desc());
      add(DNNL_ARG_BIAS, b);
      add(DNNL_ARG_DST, y);
    } else if (pass == Pass::backward_data) {
      const dnnl::inner_product_backward_data::primitive_desc d({x, w, y}, engine_, forward);
      primitive_ = dnnl::inner_product_backward_data(d);
      add(DNNL_ARG_DIFF_DST, y);
      add(DNNL_ARG_WEIGHTS, d.weights_desc());
      add(DNNL_ARG_DIFF_SRC, x);
    } else {
      const dnnl::inner_product_backward_weights::primitive_desc d({x, dw, b, y}, engine_, forward);
      primitive_ = dnnl::inner_product_backward_weights(d);
      add(DNNL_ARG_SRC, x);
      add(DNNL_ARG_DIFF_DST, y);
      add(DNNL_ARG_DIFF_WEIGHTS, d.diff_weights_desc());
      add(DNNL_ARG_DIFF_BIAS, b);
    }
  }
};

/// What takes images and gives images or smaller ones.
class ImagePeer : public OnednnPeer {
 protected:
  /// Fills what forward leaves for backward with what it really gives (places of maxima, variances), then turns to
  /// `backward`, whose operands are added.
  void go_on_with(const dnnl::primitive& backward, const memory::desc& x, const memory::desc& y) {
    run();
    primitive_ = backward;
    add(DNNL_ARG_DIFF_DST, y);
    add(DNNL_ARG_DIFF_SRC, x);
  }
};

template <class T>
class NormPeer : public ImagePeer {
 public:
  NormPeer(index_t batch, const Shape& s, Pass pass, bool relu) {
    using flag = dnnl::normalization_flags;
    const memory::desc x({batch, s[2], s[0], s[1]}, onednn_type<T>, tag::nhwc);
    const memory::desc channels({s[2]}, memory::data_type::f32, tag::a);
    const auto flags = flag::use_scale | flag::use_shift | (relu ? flag::fuse_norm_relu : flag::none);
    const dnnl::batch_normalization_forward::primitive_desc f({kind::forward_training, x, 1e-5f, flags}, engine_);
    primitive_ = dnnl::batch_normalization_forward(f);
    for (const int argument : {DNNL_ARG_MEAN, DNNL_ARG_VARIANCE, DNNL_ARG_SCALE, DNNL_ARG_SHIFT})
      add(argument, channels);
    add(DNNL_ARG_SRC, x);
    add(DNNL_ARG_DST, x);
    if (relu) add(DNNL_ARG_WORKSPACE, f.workspace_desc());
    if (pass == Pass::forward) return;
    const dnnl::batch_normalization_backward::primitive_desc b({kind::backward, x, x, 1e-5f, flags}, engine_, f);
    go_on_with(dnnl::batch_normalization_backward(b), x, x);
    add(DNNL_ARG_DIFF_SCALE, channels);
    add(DNNL_ARG_DIFF_SHIFT, channels);
  }
};

template <class T>
class PoolPeer : public ImagePeer {
 public:
  PoolPeer(index_t batch, const Shape& s, Pass pass) {
    const memory::dims two{2, 2}, none{0, 0};
    const memory::desc x({batch, s[2], s[0], s[1]}, onednn_type<T>, tag::nhwc);
    const memory::desc y({batch, s[2], s[0] / 2, s[1] / 2}, onednn_type<T>, tag::nhwc);
    const auto max = dnnl::algorithm::pooling_max;
    const dnnl::pooling_forward::primitive_desc f({kind::forward_training, max, x, y, two, two, none, none}, engine_);
    primitive_ = dnnl::pooling_forward(f);
    add(DNNL_ARG_SRC, x);
    add(DNNL_ARG_DST, y);
    add(DNNL_ARG_WORKSPACE, f.workspace_desc());
    if (pass == Pass::forward) return;
    const dnnl::pooling_backward::primitive_desc b({max, x, y, two, two, none, none}, engine_, f);
    go_on_with(dnnl::pooling_backward(b), x, y);
  }
};

template <class T>
class ReluPeer : public ImagePeer {
 public:
  ReluPeer(index_t batch, const Shape& s, Pass pass) {
    const memory::desc x({batch, s[2], s[0], s[1]}, onednn_type<T>, tag::nhwc);
    const auto relu = dnnl::algorithm::eltwise_relu;
    const dnnl::eltwise_forward::primitive_desc f({kind::forward_training, relu, x, 0.0f}, engine_);
    primitive_ = dnnl::eltwise_forward(f);
    add(DNNL_ARG_SRC, x);
    add(DNNL_ARG_DST, x);
    if (pass == Pass::forward) return;
    const dnnl::eltwise_backward::primitive_desc b({relu, x, x, 0.0f}, engine_, f);
    go_on_with(dnnl::eltwise_backward(b), x, x);
  }
};

template <class Peer>
void compare(benchmark::State& state, const Work& work, auto&& ours, auto&&... peer_arguments) {
  try {
    Peer peer(peer_arguments...);
    take_turns(
        state, work, false, [&] { ours.run(); }, [&] { peer.run(); });
  } catch (const dnnl::error& error) {
    state.SkipWithError(error.what());
  }
}

void add(const std::string& full_name, auto function) {
  benchmark::RegisterBenchmark(full_name.c_str(), function)->UseManualTime()->Iterations(turns());
}

std::string text(const Shape& s) {
  return std::to_string(s[0]) + "x" + std::to_string(s[1]) + "x" + std::to_string(s[2]);
}

template <class T>
void add_dense(const std::string& precision) {
  struct Size {
    index_t batch, inputs, outputs;
  };
  for (const Pass pass : {Pass::forward, Pass::backward_data, Pass::backward_weights})
    for (const Size s : {Size{64, 2048, 1024}, {64, 4608, 1024}, {64, 1024, 7}, {128, 256, 7}, {1, 2048, 1024}})
      add(precision + "/dense/" + name(pass) + "/" + std::to_string(s.batch) + "x" + std::to_string(s.inputs) + "->" +
              std::to_string(s.outputs),
          [=](benchmark::State& state) {
            Ours<T> ours(Sequential<T>{Dense{s.outputs}}, {s.inputs}, s.batch, pass);
            const double work = 2e-9 * static_cast<double>(s.batch * s.inputs * s.outputs);
            compare<DensePeer<T>>(state, {"GFLOP/s", work}, ours, s.batch, s.inputs, s.outputs, pass);
          });
}

template <class T>
void add_images(const std::string& precision) {
  constexpr index_t batch = 64;
  for (const Pass pass : {Pass::forward, Pass::backward})
    for (const Shape& s : {Shape{44, 44, 32}, {22, 22, 64}, {11, 11, 128}, {5, 5, 256}}) {
      const std::string rest = name(pass) + "/" + text(s);
      const Work values{"Gvalues/s", 1e-9 * static_cast<double>(batch * s.size())};
      add(precision + "/batch_norm/" + rest, [=](benchmark::State& state) {
        Ours<T> ours(Sequential<T>{BatchNorm2d{}}, s, batch, pass);
        compare<NormPeer<T>>(state, values, ours, batch, s, pass, false);
      });
      add(precision + "/batch_norm+relu/" + rest, [=](benchmark::State& state) {
        Ours<T> ours(Sequential<T>{BatchNorm2d{}, Relu{}}, s, batch, pass);
        compare<NormPeer<T>>(state, values, ours, batch, s, pass, true);
      });
      add(precision + "/max_pool/" + rest, [=](benchmark::State& state) {
        Ours<T> ours(Sequential<T>{MaxPool2d{2}}, s, batch, pass);
        compare<PoolPeer<T>>(state, values, ours, batch, s, pass);
      });
      add(precision + "/relu/" + rest, [=](benchmark::State& state) {
        Ours<T> ours(Sequential<T>{Relu{}}, s, batch, pass);
        compare<ReluPeer<T>>(state, values, ours, batch, s, pass);
      });
    }
}

template <class T>
void add_all(const std::string& precision) {
  add_dense<T>(precision);
  add_images<T>(precision);
}

}  // namespace

int main(int argc, char** argv) {
  return run_beside_onednn(argc, argv, [] {
    add_all<float>("fp32");
    add_all<bfloat16>("bf16");
  });
}
