// A shared library that is loaded where its first function is called, so that a program starts fast, and also where the
// library is not installed.
#pragma once

#include <dlfcn.h>

#include <string>

#include "kernels/check.h"

namespace glint {

class DynamicLibrary {
 public:
  // name: a literal, which tests/gpu/libraries.sh looks for in the program. `folder` is searched after the loader's own
  // places. UserError if the library is not there; `use`: what it is for.
  DynamicLibrary(const char* name, const std::string& folder, const char* use)
      : name_(name), handle_(dlopen(name, RTLD_LAZY | RTLD_LOCAL)) {
    if (handle_) return;
    const char* reason = dlerror();
    const std::string fault = reason ? reason : "not found";
    handle_ = dlopen((folder + "/" + name).c_str(), RTLD_LAZY | RTLD_LOCAL);
    GLINT_REQUIRE(handle_, name, ", for ", use, ", cannot be loaded (", fault,
                  "); install it, or add its folder to LD_LIBRARY_PATH, or use `device` cpu");
  }
  // Stays loaded: its own threads and destructors may run until the program ends.

  // Function: its type, without a pointer.
  template <typename Function>
  Function* function(const char* function_name) const {
    void* address = dlsym(handle_, function_name);
    GLINT_REQUIRE(address, name_, " has no ", function_name, ": it is another version than glint was built with");
    return reinterpret_cast<Function*>(address);
  }

 private:
  const char* name_;
  void* handle_;
};

}  // namespace glint

// `name` of its header as a function of the library that `library()` returns; looked up once.
#define GLINT_LOADED(library, name)                                                      \
  (*[] {                                                                                 \
    static const auto function = (library)().template function<decltype(::name)>(#name); \
    return function;                                                                     \
  }())
#define GLINT_TEXT_OF(number) GLINT_TEXT(number)
#define GLINT_TEXT(text) #text
