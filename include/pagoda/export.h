// Symbol visibility of the public API.
#ifndef PAGODA_EXPORT_H_
#define PAGODA_EXPORT_H_

#if defined(PAGODA_STATIC)
#define PAGODA_API
#else
#define PAGODA_API __attribute__((visibility("default")))
#endif

#endif  // PAGODA_EXPORT_H_
