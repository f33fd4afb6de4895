/* The installed `pyrunc`: CPython, and pyrunc's own modules frozen into it, in one executable.
 *
 * The interpreter is only brought up as far as its core (PyConfig._init_main = 0): builtins, the C
 * modules, frozen modules; no search path, no codecs module, no sys.stdout. That is all that the
 * hot commands need. The first import that asks for more completes it: see boot.py.
 *
 * tools/build_embedded.py builds this file and defines
 *   FROZEN          the file with the marshalled modules; boot.py's code stands first in it
 *   BOOT_SIZE       the length of boot.py's code
 *   INDEX, INDEX_SIZE
 *                   place and length of the index
 *   EXECUTABLE, STDLIB, DYNLOAD, PREFIX, EXEC_PREFIX
 *                   the interpreter that cold code is to believe in, and its directories
 *   SITE            where the package lies relative to this program's directory, or absolute
 *   INSTALLED       where it lies if it is not there, absolute, or empty
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <limits.h>
#include <marshal.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Declared in headers of CPython's own use from 3.12 on. */
extern PyStatus _Py_InitializeMain(void);
extern int _PySignal_Init(int install_signal_handlers);

/* CPython 3.11 has code objects of its own frozen modules as constants, all of whose strings it
 * interns at the start, which means to touch and copy a megabyte. Only importlib is needed before
 * complete(); the linker (--wrap) calls this in place of the original. Weak, as 3.13 has none. */
extern int __real__Py_Deepfreeze_Init(void) __attribute__((weak));
extern PyObject *_Py_get_importlib__bootstrap_toplevel(void) __attribute__((weak));
extern int _PyStaticCode_InternStrings(PyCodeObject *code) __attribute__((weak));
int __wrap__Py_Deepfreeze_Init(void);

int
__wrap__Py_Deepfreeze_Init(void)
{
    return _PyStaticCode_InternStrings((PyCodeObject *)_Py_get_importlib__bootstrap_toplevel());
}

__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        "frozen:\n"
        ".incbin \"" FROZEN "\"\n"
        "frozen_end:\n"
        ".popsection\n");
extern const char frozen[], frozen_end[];

/* Debian's libpython3.13.a lacks the code that _sha2 is only a shell of (libHacl_Hash_SHA2.a). The
 * linker (--wrap) takes this in its place; hashlib and random then use OpenSSL's. */
PyObject *__wrap_PyInit__sha2(void);

PyObject *
__wrap_PyInit__sha2(void)
{
    PyErr_SetString(PyExc_ImportError, "_sha2 is not embedded");
    return NULL;
}

static int complete_already;

/* read(offset, size) -> the object that is marshalled there. */
static PyObject *
embedded_read(PyObject *self, PyObject *args)
{
    Py_ssize_t offset, size;

    (void)self;
    if (!PyArg_ParseTuple(args, "nn", &offset, &size))
        return NULL;
    if (offset < 0 || size < 0 || offset > frozen_end - frozen - size) {
        PyErr_SetString(PyExc_ValueError, "outside of the frozen modules");
        return NULL;
    }
    return PyMarshal_ReadObjectFromString(frozen + offset, size);
}

/* thaw(offset, size) -> a function with the code that is marshalled there and the globals of the
 * caller: functions that are rarely called have no more than that call in their module. */
static PyObject *
embedded_thaw(PyObject *self, PyObject *args)
{
    static PyObject *thawed;
    PyObject *code, *function, *globals, *key;

    if (!thawed && !(thawed = PyDict_New()))
        return NULL;
    if (!(key = PyTuple_GetItem(args, 0)))
        return NULL;
    function = PyDict_GetItemWithError(thawed, key);
    if (function || PyErr_Occurred()) {
        Py_XINCREF(function);
        return function;
    }
    globals = PyEval_GetGlobals();
    code = embedded_read(self, args);
    if (!globals || !code)
        return NULL;
    function = PyFunction_New(code, globals);
    Py_DECREF(code);
    if (function && PyDict_SetItem(thawed, key, function))
        Py_CLEAR(function);
    return function;
}

/* complete(): bring up what _init_main = 0 left out. */
static PyObject *
embedded_complete(PyObject *self, PyObject *unused)
{
    PyStatus status;

    (void)self, (void)unused;
    if (!complete_already) {
        complete_already = 1;
        if (__real__Py_Deepfreeze_Init && __real__Py_Deepfreeze_Init() < 0)
            return PyErr_NoMemory();
        status = _Py_InitializeMain();
        if (PyStatus_Exception(status)) {
            PyErr_SetString(PyExc_SystemError, status.err_msg ? status.err_msg : "no interpreter");
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* become_subreaper(): prctl(2), PR_SET_CHILD_SUBREAPER; only the process itself can do it. */
static PyObject *
embedded_become_subreaper(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* disable_gc(): gc.disable() without the module. */
static PyObject *
embedded_disable_gc(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    PyGC_Disable();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"thaw", embedded_thaw, METH_VARARGS, NULL},
    {"disable_gc", embedded_disable_gc, METH_NOARGS, NULL},
    {"read", embedded_read, METH_VARARGS, NULL},
    {"complete", embedded_complete, METH_NOARGS, NULL},
    {"become_subreaper", embedded_become_subreaper, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_embedded", NULL, -1, functions, NULL, NULL, NULL, NULL,
};

static PyObject *
embedded_init(void)
{
    return PyModule_Create(&definition);
}

/* The directory that holds the package: SITE, if relative from this program's directory's parent; or, for a copy of
 * the installed program that lies elsewhere, INSTALLED. */
static int
site_directory(char *buffer, size_t size)
{
    ssize_t length;
    int cut;

    if (SITE[0] == '/') {
        if (sizeof SITE > size)
            return -1;
        memcpy(buffer, SITE, sizeof SITE);
        return 0;
    }
    length = readlink("/proc/self/exe", buffer, size);
    if (length <= 0 || (size_t)length >= size)
        return -1;
    buffer[length] = 0;
    for (cut = 0; cut < 2; cut++) {
        char *slash = strrchr(buffer, '/');
        if (!slash)
            return -1;
        *slash = 0;
    }
    if (strlen(buffer) + sizeof SITE + 1 > size)
        return -1;
    strcat(buffer, "/");
    strcat(buffer, SITE);
    length = (ssize_t)strlen(buffer);
    if (sizeof INSTALLED > 1 && (size_t)length + sizeof "/pyrunc" <= size && sizeof INSTALLED <= size) {
        strcat(buffer, "/pyrunc");
        if (access(buffer, F_OK))
            memcpy(buffer, INSTALLED, sizeof INSTALLED);
        else
            buffer[length] = 0;
    }
    return 0;
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define ARENA ((size_t)1 << 20)
#define HUGE (2 * ARENA)

/* Two arenas on a huge page, where the machine gives such to who asks: one page fault in place of five hundred. */
static char *
take_two(void)
{
    char *place = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *aligned;

    if (place == MAP_FAILED)
        return NULL;
    aligned = place + (-(uintptr_t)place & (HUGE - 1));
    if (aligned > place)
        munmap(place, (size_t)(aligned - place));
    munmap(aligned + HUGE, (size_t)(place + HUGE - aligned));
    madvise(aligned, HUGE, MADV_HUGEPAGE);
    return aligned;
}

/* Python's heap in pieces of a megabyte, each there at once: to take it page by page, as it is
 * touched, costs more than the pages that stay unused. */
static void *
take_arena(void *context, size_t size)
{
    static char *second;
    char *place;

    (void)context;
    if (size != ARENA) {
        place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return place == MAP_FAILED ? NULL : place;
    }
    place = second;
    second = NULL;
    if (!place) {
        place = take_two();
        if (!place)
            return NULL;
        second = place + ARENA;
    }
    /* Before Linux 5.14 the pages come with their first use. */
    madvise(place, ARENA, MADV_POPULATE_WRITE);
    return place;
}

static void
give_arena(void *context, void *arena, size_t size)
{
    (void)context;
    munmap(arena, size);
}

static PyStatus
initialize(int argc, char **argv, const wchar_t *site)
{
    PyObjectArenaAllocator arenas = {NULL, take_arena, give_arena};
    PyPreConfig pre;
    PyConfig config;
    PyStatus status;

    PyObject_SetArenaAllocator(&arenas);
    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
    status = Py_PreInitialize(&pre);
    if (PyStatus_Exception(status))
        return status;

    /* As `python -I -S -B`, with nothing left to be found out. */
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 1;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1;
#define TRY(call)                         \
    do {                                  \
        status = (call);                  \
        if (PyStatus_Exception(status)) { \
            PyConfig_Clear(&config);      \
            return status;                \
        }                                 \
    } while (0)
    TRY(PyConfig_SetBytesArgv(&config, argc, argv));
    TRY(PyConfig_SetBytesString(&config, &config.executable, EXECUTABLE));
    TRY(PyConfig_SetBytesString(&config, &config.base_executable, EXECUTABLE));
    TRY(PyConfig_SetBytesString(&config, &config.prefix, PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.base_prefix, PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.exec_prefix, EXEC_PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.base_exec_prefix, EXEC_PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.stdlib_dir, STDLIB));
    TRY(PyWideStringList_Append(&config.module_search_paths, site));
    TRY(PyWideStringList_Append(&config.module_search_paths, L"" STDLIB));
    TRY(PyWideStringList_Append(&config.module_search_paths, L"" DYNLOAD));
    TRY(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    return status;
}

/* sys.argv is only set when the interpreter is complete. */
static PyObject *
arguments(int argc, char **argv)
{
    PyObject *list = PyList_New(argc);
    int i;

    for (i = 0; list && i < argc; i++) {
        PyObject *word = PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]),
                                              "surrogateescape");
        if (!word)
            return NULL;
        PyList_SET_ITEM(list, i, word);
    }
    if (list && PySys_SetObject("argv", list))
        return NULL;
    return list;
}

/* boot.start(index, site) -> exit status; -1 with an exception set. */
static long
start(const char *site)
{
    PyObject *globals, *code, *result, *index, *function;

    if (!(globals = PyDict_New()) ||
        PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) ||
        !(code = PyMarshal_ReadObjectFromString(frozen, BOOT_SIZE)) ||
        !(result = PyEval_EvalCode(code, globals, globals)) ||
        !(index = PyMarshal_ReadObjectFromString(frozen + INDEX, INDEX_SIZE)) ||
        !(function = PyDict_GetItemString(globals, "start")) ||
        !(result = PyObject_CallFunction(function, "Os", index, site)))
        return -1;
    return PyLong_AsLong(result);
}

int
main(int argc, char **argv)
{
    char site[PATH_MAX];
    wchar_t *wide;
    PyStatus status;
    long code;

    if (site_directory(site, sizeof site)) {
        static const char text[] = "pyrunc: cannot tell where it is installed: is /proc mounted?\n";
        if (write(2, text, sizeof text - 1)) {
        }
        return 1;
    }
    if (PyImport_AppendInittab("_embedded", embedded_init) < 0)
        return 1;
    {
        PyPreConfig pre;
        PyPreConfig_InitIsolatedConfig(&pre);
        pre.utf8_mode = 1;
        Py_PreInitialize(&pre);
    }
    wide = Py_DecodeLocale(site, NULL);
    if (!wide)
        return 1;
    status = initialize(argc, argv, wide);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);

    code = -1;
    /* SIGPIPE and SIGXFSZ ignored, SIGINT a KeyboardInterrupt. */
    if (arguments(argc, argv) && _PySignal_Init(1) == 0)
        code = start(site);
    if (code == -1 && PyErr_Occurred()) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(embedded_complete(NULL, NULL));
        PyErr_Restore(type, value, traceback);
        PyErr_Print();
        code = 1;
    }
    /* No interpreter is taken down: the kernel is faster. */
    if (complete_already) {
        static const char *const streams[] = {"stdout", "stderr"};
        int i;
        for (i = 0; i < 2; i++) {
            PyObject *stream = PySys_GetObject(streams[i]);
            if (stream && stream != Py_None) {
                PyObject *result = PyObject_CallMethod(stream, "flush", NULL);
                if (!result)
                    PyErr_Clear();
                Py_XDECREF(result);
            }
        }
    }
    _exit((int)(code & 0xff));
}
