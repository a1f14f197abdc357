// The library's thread pool, seen from outside.
#ifndef PAGODA_TOOLS_PAGODA_EXECUTION_H_
#define PAGODA_TOOLS_PAGODA_EXECUTION_H_

#include <cstdint>

namespace CLI {
class App;
}  // namespace CLI

namespace pagoda::tools {

// --threads N. Takes effect only before the library is first called.
void add_threads_option(CLI::App* command);

// Workers of the library's own pool.
int32_t num_threads();

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_EXECUTION_H_
