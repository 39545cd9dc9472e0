# cmake -DOUT=FILE.c -DFILES=A.json,B.json -P embed.cmake: the files as arrays of bytes, for task_builtin_int.h.
string(REPLACE "," ";" files "${FILES}")
set(arrays "")
set(rows "")
set(n 0)
foreach(file IN LISTS files)
    get_filename_component(name "${file}" NAME)
    file(READ "${file}" hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(APPEND arrays "static const uint8_t file_${n}[] = {${bytes}};\n")
    string(APPEND rows "    {\"${name}\", file_${n}, sizeof file_${n}},\n")
    math(EXPR n "${n} + 1")
endforeach()
file(WRITE "${OUT}" "/* Made by embed.cmake. */\n#include \"coordinator/task/task_builtin_int.h\"\n\n${arrays}\n"
    "static const task_builtin_file files[] = {\n${rows}    {NULL, NULL, 0},\n};\n\n"
    "const task_builtin_file *task_builtin_files(void)\n{\n    return files;\n}\n")
