// The README's first program with dlib: same data, network, training and output.
#include <dlib/dnn.h>

#include <cstdio>
#include <random>
#include <vector>

using namespace dlib;

using Images = std::vector<matrix<float>>;
using Labels = std::vector<unsigned long>;

// Noisy pictures of a bar that lies (class 0) or stands (class 1).
void bars(int count, unsigned seed, Images& images, Labels& labels) {
  std::mt19937 random(seed);
  std::normal_distribution<float> noise(0.0f, 0.3f);
  for (int i = 0; i < count; ++i) {
    labels.push_back(static_cast<unsigned long>(i % 2));
    matrix<float> image(16, 16);
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) {
        const bool on_bar = (labels.back() == 0 ? y : x) == 2 + i % 12;
        image(y, x) = (on_bar ? 1.0f : 0.0f) + noise(random);
      }
    }
    images.push_back(image);
  }
}

template <typename Subnet>
using convolution = add_layer<con_<8, 3, 3, 1, 1, 0, 0>, Subnet>;
using Net = loss_multiclass_log<fc<2, dropout<max_pool<2, 2, 2, 2, relu<convolution<input<matrix<float>>>>>>>>;

int main() {
  Images images, valid_images;
  Labels labels, valid_labels;
  bars(1024, 1, images, labels);
  bars(256, 2, valid_images, valid_labels);
  Net net;
  layer<2>(net).layer_details() = dropout_(0.25f);
  dnn_trainer<Net, adam> trainer(net, adam(0, 0.9f, 0.999f));
  trainer.set_learning_rate(1e-3);
  trainer.set_mini_batch_size(64);
  trainer.set_max_num_epochs(3);
  trainer.train(images, labels);
  trainer.get_net();
  net.clean();
  serialize("bars.dat") << net;
  const Labels found = net(valid_images);
  int right = 0;
  for (std::size_t i = 0; i < found.size(); ++i) right += found[i] == valid_labels[i];
  std::printf("%.1f %% right\n", 100.0 * right / static_cast<double>(found.size()));
}
