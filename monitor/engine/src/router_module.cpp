#include "router_probes.hpp"

PyMODINIT_FUNC PyInit__router() {
    static PyMethodDef methods[] = {
        {"probe_conditions", engine::probe_conditions, METH_VARARGS, nullptr},
        {"probe_blake2b", engine::probe_blake2b, METH_VARARGS, nullptr},
        {nullptr, nullptr, 0, nullptr},
    };
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "monitor.engine._router", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};
    return PyModule_Create(&definition);
}
