__version__ = "0.1.0"  # that of the CMake project
