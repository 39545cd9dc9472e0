# Everything comes from Debian packages; the list stands in tools/setup/packages.txt.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(TIFF 4.5 REQUIRED)
find_package(ZLIB REQUIRED)

pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq>=4.3)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c>=1.4)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc>=2.9)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.14)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium>=1.0.18)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash>=0.8.1)
if(PALMGROVE_SENTENCEPIECE) # the only C++ in the tree is its shim
    enable_language(CXX)
    pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece>=0.1.97)
else()
    set(SENTENCEPIECE_VERSION "none")
endif()
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.40) # the first with \p{White_Space}
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc>=2.6)
if(PALMGROVE_GENOMICS)
    pkg_check_modules(HTSLIB REQUIRED IMPORTED_TARGET htslib>=1.16) # BAM, CRAM, FASTA, VCF
endif()
if(PALMGROVE_DICOM)
    pkg_check_modules(CHARLS REQUIRED IMPORTED_TARGET charls>=2.4)
    pkg_check_modules(OPENJPEG REQUIRED IMPORTED_TARGET libopenjp2>=2.5)
    foreach(bits 8 12 16) # GDCM's three libjpegs, in C, with the lossless process; of GDCM itself nothing is used
        find_library(GDCMJPEG${bits} gdcmjpeg${bits} REQUIRED)
    endforeach()
endif()
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka>=1.1.5)
find_program(PROTOC_C NAMES protoc-c REQUIRED)
find_program(PROTOC NAMES protoc REQUIRED)
