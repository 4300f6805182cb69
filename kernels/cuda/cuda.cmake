# CUDA, where a toolkit is found: the library glint_kernels_cuda, of kernels/cuda/*.cu and kernels/cuda/*/*.cu. An object
# holds one kernel for one head size, so that a change rebuilds little. Without CUDA none of this exists.
set(GLINT_CUDA AUTO CACHE STRING "Build for NVIDIA GPUs: AUTO (where a CUDA toolkit is found), ON, OFF")
set_property(CACHE GLINT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(GLINT_CUDA_OLDEST 12.4)

# What is wrong with CUDA here, or nothing.
set(GLINT_CUDA_FAULT)
if(GLINT_CUDA STREQUAL "OFF")
  set(GLINT_CUDA_FAULT "GLINT_CUDA=OFF")
else()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(GLINT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(GLINT_NVCC)
    if(GLINT_NVCC)
      set(ENV{CUDACXX} ${GLINT_NVCC}) # check_language() tries it, and finds out whether it gets on with the host compiler
    endif()
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90) # 90: its machine code, and PTX for what comes later
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(GLINT_CUDA_FAULT "no CUDA compiler that works was found: put nvcc on the PATH, or set CUDACXX or -DCMAKE_CUDA_COMPILER")
  else()
    enable_language(CUDA)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS GLINT_CUDA_OLDEST)
      set(GLINT_CUDA_FAULT "${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}; ${GLINT_CUDA_OLDEST} or later is needed")
    endif()
  endif()
endif()

set(GLINT_WITH_CUDA OFF)
if(NOT GLINT_CUDA_FAULT)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25.1 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
  set(GLINT_WITH_CUDA ON)
  message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
elseif(GLINT_CUDA STREQUAL "ON")
  message(FATAL_ERROR "CUDA was asked for (GLINT_CUDA=ON), but ${GLINT_CUDA_FAULT}. Or use GLINT_CUDA=OFF.")
else()
  message(STATUS "CUDA: not used (${GLINT_CUDA_FAULT})")
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS kernels/cuda/*.cu kernels/cuda/*/*.cu)
if(GLINT_WITH_CUDA)
  add_library(glint_kernels_cuda STATIC ${cuda_sources})
  target_include_directories(glint_kernels_cuda PUBLIC ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(glint_kernels_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Wno-unknown-pragmas -Xptxas=-v>)
  target_link_libraries(glint_kernels_cuda PUBLIC CUDA::cublasLt)
  set_target_properties(glint_kernels_cuda PROPERTIES
    CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
    # What ptxas says is kept beside each object; tests/kernels/cuda/ptxas.sh holds it against the limits in the sources.
    CUDA_COMPILER_LAUNCHER "bash;${CMAKE_CURRENT_SOURCE_DIR}/kernels/cuda/keep_log.sh")
endif()
