// The result of every call: a code, and a message that names the argument, what it got, what it
// wants and, where one exists, the fix.
#ifndef PAGODA_STATUS_H_
#define PAGODA_STATUS_H_

#include <cstdint>
#include <string>
#include <utility>

namespace pagoda {

// The values are part of the C ABI (c_api.h) and never change.
enum class StatusCode : int32_t {
  kOk = 0,
  kInvalidArgument = 1,    // the caller can fix it; nothing was written
  kUnsupported = 2,        // legal, but this build or device has no code for it
  kWorkspaceTooSmall = 3,  // the message says how many bytes are needed
  kInvalidContents = 4,    // checked mode: a page id, a length or a scale is out of range
  kDeviceError = 5,        // the driver or the device reported an error
  kInternal = 6,           // a bug in the library
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

}  // namespace pagoda

#endif  // PAGODA_STATUS_H_
