// The source of mien::precompiled: see precompiled.hpp.
#define MIEN_TEMPLATE template
#include "mien/precompiled.hpp"
