// The source of mien::precompiled: see precompiled.hpp.
#define MIEN_PRECOMPILING
#undef MIEN_PRECOMPILED
#include "mien/precompiled.hpp"
