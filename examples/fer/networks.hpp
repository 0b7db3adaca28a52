// The networks that train_fer knows, each with the recipe it was published with.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "fer/classes.hpp"
#include "mien/data/augmentation.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/sequential.hpp"
#include "mien/nn/shape_layers.hpp"
#include "mien/optim/optimizer.hpp"
#include "mien/optim/schedule.hpp"

namespace mien::fer {

/// How a network is trained unless told otherwise.
struct Recipe {
  std::string name;
  index_t input = 48;  ///< side of what the network reads, cut out of 48
  /// Value = (byte / 255 - mean) / deviation; deviation 0 asks for those of the training set.
  float mean = 0, deviation = 0;
  int epochs = 60;
  index_t batch = 128;
  Optimizer optimizer = Sgd{};
  Schedule schedule = {};
  Augmentation augmentation = {};
  float label_smoothing = 0;
  float average_decay = 0;
  bool drop_last = false;
  /// The last epoch's weights instead of the best's: see docs/results.md.
  bool keep_last = false;
  bool bfloat16_activations = false, bfloat16_storage = false;  ///< in training, and in the model file
};

inline constexpr std::array<std::string_view, 5> network_names = {"atulapra", "iexpressionnet", "mien-s", "mien-b",
                                                                  "tiny"};

namespace detail {

/// atulapra/Emotion-detection: four convolutions without padding, 2.35 M parameters. Keras' initializers.
template <class T>
Sequential<T> atulapra() {
  const auto conv = [](index_t filters) {
    return Conv2d{.filters = filters,
                  .weight_initializer = Initializer::glorot_uniform(),
                  .bias_initializer = Initializer::constant(0)};
  };
  const auto dense = [](index_t units) {
    return Dense{.units = units,
                 .weight_initializer = Initializer::glorot_uniform(),
                 .bias_initializer = Initializer::constant(0)};
  };
  Sequential<T> net;
  net.add("features", Sequential<T>{conv(32), Relu{}, conv(64), Relu{}, MaxPool2d{2}, Dropout{0.25f}, conv(128), Relu{},
                                    MaxPool2d{2}, conv(128), Relu{}, MaxPool2d{2}, Dropout{0.25f}});
  net.add("classifier", Sequential<T>{Flatten{}, dense(1024), Relu{}, Dropout{0.5f}, dense(class_count)});
  return net;
}

/// iExpressionNet's Emotion_Detector_Conv: the same with padding, 4.97 M parameters. PyTorch's initializers.
template <class T>
Sequential<T> iexpressionnet() {
  const auto conv = [](index_t filters) { return Conv2d{.filters = filters, .padding = 1}; };
  Sequential<T> net;
  net.add("features", Sequential<T>{conv(32), Relu{}, conv(64), Relu{}, MaxPool2d{2}, conv(128), Relu{}, MaxPool2d{2},
                                    conv(128), Relu{}, MaxPool2d{2}});
  net.add("classifier", Sequential<T>{Flatten{}, Dense{1024}, Relu{}, Dropout{0.2f}, Dense{class_count}});
  return net;
}

/// VGG-like: per width two 3x3 convolutions with normalization, then pooling; global average pooling at the end. He
/// normal (fan-out) initializers, no convolution bias. Widths 32 to 256: 1.17 M parameters.
template <class T>
Sequential<T> vgg(std::initializer_list<index_t> widths) {
  Sequential<T> features;
  for (const index_t width : widths) {
    if (features.layer_count() > 0) features.add(MaxPool2d{2});
    for (int i = 0; i < 2; ++i) {
      features.add(Conv2d{.filters = width,
                          .padding = 1,
                          .bias = false,
                          .weight_initializer = Initializer::he_normal(Initializer::Scale::fan_out)});
      features.add(BatchNorm2d{});
      features.add(Relu{});
    }
  }
  features.add(GlobalAveragePool{});
  Sequential<T> net;
  net.add("features", std::move(features));
  net.add("classifier", Sequential<T>{Dropout{0.3f}, Dense{class_count}});
  return net;
}

}  // namespace detail

/// The network of that name, not yet built. Throws ArgumentError that lists the names for another one.
template <class T>
Sequential<T> make_network(std::string_view name) {
  if (name == "atulapra") return detail::atulapra<T>();
  if (name == "iexpressionnet") return detail::iexpressionnet<T>();
  if (name == "mien-s") return detail::vgg<T>({32, 64, 128, 256});
  if (name == "mien-b") return detail::vgg<T>({64, 128, 256, 512});
  if (name == "tiny") return detail::vgg<T>({8, 16, 32});
  std::string names;
  for (const std::string_view known : network_names) names.append(" ").append(known);
  fail<ArgumentError>("no network is called '" + std::string(name) + "'; there are:" + names);
}

/// The recipe of each network: as published where the network is, see docs/results.md.
inline Recipe recipe_of(std::string_view name) {
  Recipe r;
  r.name = std::string(name);
  if (name == "atulapra") {
    r.deviation = 1;
    r.epochs = 50;
    r.batch = 64;
    r.optimizer = Adam{{.learning_rate = 1e-4f, .epsilon = 1e-7f, .learning_rate_decay = 1e-6f}};
    return r;
  }
  if (name == "iexpressionnet") {
    r.mean = r.deviation = 0.5f;
    r.epochs = 40;
    r.optimizer = Adam{{.learning_rate = 1e-3f, .weight_decay = 1e-6f}};
    r.augmentation.flip = 0.5f;
    r.augmentation.rotation = 30;
    r.augmentation.rotation_probability = 1;
    r.augmentation.fill = (0 - r.mean) / r.deviation;  // black
    return r;
  }
  r.input = 44;
  r.optimizer = Sgd{{.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 5e-4f, .nesterov = true}};
  r.optimizer.decay_only_weights = true;
  r.schedule = Schedule::cosine(3);
  r.augmentation = Augmentation::strong();
  // For every image, and shifted further: see docs/results.md.
  r.augmentation.rotation_probability = r.augmentation.scale_probability = 1;
  r.augmentation.shift = 4;
  r.label_smoothing = 0.1f;
  r.average_decay = 0.999f;
  r.drop_last = true;
  r.keep_last = true;
  r.bfloat16_activations = r.bfloat16_storage = true;
  if (name == "tiny") {
    // For a first look: minutes, not hours, also where bfloat16 has no instructions.
    r.bfloat16_activations = r.bfloat16_storage = false;
    r.epochs = 12;
    r.batch = 64;
    r.schedule = Schedule::cosine(1);
    r.augmentation = Augmentation::light();
    r.augmentation.crop = r.input;
    r.average_decay = 0.99f;
  }
  return r;
}

/// "none", "light" or "strong", cut to the network's input. Throws ArgumentError for another name.
inline Augmentation augmentation_of(std::string_view name, index_t input) {
  Augmentation a;
  if (name == "light") {
    a = Augmentation::light();
  } else if (name == "strong") {
    a = Augmentation::strong();
  } else if (name != "none") {
    fail<ArgumentError>("no augmentation is called '" + std::string(name) + "'; there are: none light strong");
  }
  a.crop = input;
  return a;
}

}  // namespace mien::fer
