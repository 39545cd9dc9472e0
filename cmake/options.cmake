# Build options, and the compiler flags every target gets.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()

option(PALMGROVE_WERROR "Treat warnings as errors" OFF)
set(PALMGROVE_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread")
option(PALMGROVE_SENTENCEPIECE "SentencePiece vocabularies: tokenizer.model, GGUF \"llama\"; the demo model needs it" ON)
option(PALMGROVE_FUZZERS "Build libFuzzer harnesses (needs clang)" OFF)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow
    $<$<COMPILE_LANGUAGE:C>:-Wconversion> $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wvla>)
# A product and a sum are rounded separately unless the source says fma: the same bits on every ISA (docs/DESIGN.md section 6).
add_compile_options(-ffp-contract=off)
if(PALMGROVE_WERROR)
    add_compile_options(-Werror)
endif()
if(PALMGROVE_SANITIZE)
    add_compile_options(-fsanitize=${PALMGROVE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${PALMGROVE_SANITIZE})
endif()
if(PALMGROVE_FUZZERS) # coverage in every layer; the harnesses add the rest (tests/fuzz)
    add_compile_options(-fsanitize=fuzzer-no-link)
    add_link_options(-fsanitize=fuzzer-no-link)
endif()
