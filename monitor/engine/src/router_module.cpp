#include "python.hpp"

PyMODINIT_FUNC PyInit__router() {
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "monitor.engine._router", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
    return PyModule_Create(&definition);
}
