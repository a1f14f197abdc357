// Structs of the C API between an older program and a newer library, and the other way round.
#include "api/c_struct.h"

#include <gtest/gtest.h>

namespace pagoda::testing {
namespace {

// Version 1 of a struct, and version 2, which has one more field with a default of its own.
struct Version1 {
  size_t struct_size;
  int64_t old_field;
};
struct Version2 {
  size_t struct_size;
  int64_t old_field;
  int64_t new_field;
};

void init(Version2* value) {
  *value = {.struct_size = sizeof(Version2), .old_field = 0, .new_field = -1};
}

constexpr CStruct<Version2> kType{"problem", sizeof(Version1), init};

// An old program's struct, with memory after it that the library must leave alone.
struct OldCaller {
  Version1 value{sizeof(Version1), 5};
  int64_t neighbour = 1234;

  Version2* as_new() { return reinterpret_cast<Version2*>(&value); }
};

TEST(CStruct, OlderStructGetsDefaultsOfNewFields) {
  OldCaller caller;
  Version2 full;
  ASSERT_TRUE(read_c_struct(kType, caller.as_new(), &full).ok());
  EXPECT_EQ(full.struct_size, sizeof(Version2));
  EXPECT_EQ(full.old_field, 5);
  EXPECT_EQ(full.new_field, -1);
}

TEST(CStruct, WholeStructIsTakenAsItIs) {
  const Version2 caller{sizeof(Version2), 5, 6};
  Version2 full;
  ASSERT_TRUE(read_c_struct(kType, &caller, &full).ok());
  EXPECT_EQ(full.old_field, 5);
  EXPECT_EQ(full.new_field, 6);
}

TEST(CStruct, OnlyWhatAnOlderStructHasIsWritten) {
  OldCaller caller;
  write_c_struct(Version2{sizeof(Version2), 7, 8}, caller.as_new());
  EXPECT_EQ(caller.value.old_field, 7);
  EXPECT_EQ(caller.value.struct_size, sizeof(Version1));
  EXPECT_EQ(caller.neighbour, 1234);
}

TEST(CStruct, RefusesOtherSizes) {
  Version2 full;
  const auto message_of = [&](size_t size) {
    const Version2 caller{size, 0, 0};
    return read_c_struct(kType, &caller, &full).message();
  };
  EXPECT_EQ(message_of(0),
            "problem: got struct_size 0, wants 16 or more; call its _init function first");
  EXPECT_EQ(message_of(15),
            "problem: got struct_size 15, wants 16 or more; call its _init function first");
  EXPECT_EQ(message_of(25),
            "problem: got struct_size 25, this library knows 24 bytes; call its _init function "
            "first, or update the library");
}

}  // namespace
}  // namespace pagoda::testing
