// What a report says about the machine it was made on.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "mien/core/config.hpp"
#include "mien/core/cpu.hpp"

namespace mien::fer {

/// Rows of a two-column table: a name and a value, both plain text.
using Table = std::vector<std::pair<std::string, std::string>>;

namespace detail {
/// The value of the first line of a Linux /proc file that begins with `key`, behind its colon; empty without one.
inline std::string proc_value(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) != 0 || colon == std::string::npos) continue;
    const std::size_t first = line.find_first_not_of(" \t", colon + 1);
    return first == std::string::npos ? "" : line.substr(first);
  }
  return "";
}
}  // namespace detail

/// Processor, cores, memory, instruction set in use, compiler, mien's version. What cannot be found out is left out.
inline Table machine_table() {
  Table table;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) table.emplace_back(name, value);
  };
  add("Processor", detail::proc_value("/proc/cpuinfo", "model name"));
  add("Cores", std::to_string(std::thread::hardware_concurrency()));
  const std::string kilobytes = detail::proc_value("/proc/meminfo", "MemTotal");
  if (!kilobytes.empty()) add("Memory", std::to_string((std::atoll(kilobytes.c_str()) + (1 << 19)) >> 20) + " GiB");
  add("Instruction set used", std::string(to_string(cpu_isa())));
#if defined(__clang__)
  add("Compiler", "clang " __clang_version__);
#elif defined(__GNUC__)
  add("Compiler", "gcc " __VERSION__);
#endif
  add("mien", MIEN_VERSION);
  return table;
}

}  // namespace mien::fer
