// Numbers as people read them.
#ifndef PAGODA_TOOLS_PAGODA_UNITS_H_
#define PAGODA_TOOLS_PAGODA_UNITS_H_

#include <cstdint>
#include <string>

namespace pagoda::tools {

std::string format_bytes(double bytes);      // "1.5 GiB"
std::string format_seconds(double seconds);  // "12.3 ms"
std::string format_count(int64_t count);     // "12,345"
std::string format_percent(double fraction);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_UNITS_H_
