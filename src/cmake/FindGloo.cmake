# Gloo::Gloo, from GLOO_INCLUDE_DIR and GLOO_LIBRARY.
find_path(GLOO_INCLUDE_DIR gloo/transport/tcp/device.h)
find_library(GLOO_LIBRARY gloo)
mark_as_advanced(GLOO_INCLUDE_DIR GLOO_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Gloo REQUIRED_VARS GLOO_LIBRARY GLOO_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "Install libgloo-dev, or use -DGLINT_GLOO=OFF.")
if(Gloo_FOUND AND NOT TARGET Gloo::Gloo)
  add_library(Gloo::Gloo UNKNOWN IMPORTED)
  set_target_properties(Gloo::Gloo PROPERTIES
    IMPORTED_LOCATION ${GLOO_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${GLOO_INCLUDE_DIR})
endif()
