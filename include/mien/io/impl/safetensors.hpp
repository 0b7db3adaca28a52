// Definitions for mien/io/safetensors.hpp. Private.
#pragma once

#include "mien/io/impl/safetensors_entry.hpp"
#include "mien/io/impl/safetensors_parse.hpp"
#include "mien/io/impl/safetensors_write.hpp"
