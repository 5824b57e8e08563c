#include "python.hpp"

PyMODINIT_FUNC PyInit__store() {
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "monitor.engine._store", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
    return PyModule_Create(&definition);
}
