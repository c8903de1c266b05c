//! Lets the crate see which CPython it is built for (`cfg(Py_3_12)` and its like).

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    pyo3_build_config::add_extension_module_link_args();
}
