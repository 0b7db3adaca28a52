// The README's first program with mlpack 4: same data, network, training and output.
#define MLPACK_ENABLE_ANN_SERIALIZATION
#include <cstdio>
#include <fstream>
#include <mlpack/core.hpp>
#include <mlpack/methods/ann/ann.hpp>
#include <random>

using namespace mlpack;

// Noisy pictures of a bar that lies (class 0) or stands (class 1), a column each.
void bars(int count, unsigned seed, arma::mat& images, arma::mat& labels) {
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0.0, 0.3);
  images.set_size(256, static_cast<arma::uword>(count));
  labels.set_size(1, static_cast<arma::uword>(count));
  for (int i = 0; i < count; ++i) {
    labels(0, static_cast<arma::uword>(i)) = i % 2;
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) {
        const bool on_bar = (i % 2 == 0 ? y : x) == 2 + i % 12;
        images(static_cast<arma::uword>(y * 16 + x), static_cast<arma::uword>(i)) =
            (on_bar ? 1.0 : 0.0) + noise(random);
      }
    }
  }
}

int main() {
  arma::mat images, labels, valid_images, valid_labels;
  bars(1024, 1, images, labels);
  bars(256, 2, valid_images, valid_labels);
  FFN<NegativeLogLikelihood, GlorotInitialization> net;
  net.Add<Convolution>(8, 3, 3);
  net.Add<ReLU>();
  net.Add<MaxPooling>(2, 2, 2, 2);
  net.Add<Dropout>(0.25);
  net.Add<Linear>(2);
  net.Add<LogSoftMax>();
  net.InputDimensions() = {16, 16, 1};
  ens::Adam optimizer(1e-3, 64, 0.9, 0.999, 1e-8, 3 * images.n_cols);
  net.Train(images, labels, optimizer);
  std::ofstream file("bars.bin", std::ios::binary);
  cereal::BinaryOutputArchive archive(file);
  archive(cereal::make_nvp("bars", net));
  arma::mat output;
  net.Predict(valid_images, output);
  int right = 0;
  for (arma::uword i = 0; i < output.n_cols; ++i) right += output.col(i).index_max() == valid_labels(0, i);
  std::printf("%.1f %% right\n", 100.0 * right / static_cast<double>(output.n_cols));
}
