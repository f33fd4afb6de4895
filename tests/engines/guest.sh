# Read by `run` and `critest`, in the checkout's folder, with their arguments: makes ready what goes into the guest
# machine (build/engines, build/guest-site), names the folder of what is kept ($cache), and gives them in_guest.
machine=uml
case " $* " in
    *' --machine qemu '*|*' --machine=qemu '*) machine=qemu ;;
esac
[ "$(id -u)" != 0 ] || tests/vm/vm build
rm -rf build/engines
mkdir -p build/engines/bin build/guest-site
cp -r .venv/lib/python3.*/site-packages/pyseccomp.py .venv/lib/python3.*/site-packages/pyseccomp-*.dist-info \
    build/guest-site/
cache=${PYRUNC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/pyrunc-engines
mkdir -p "$cache/bin"
# Kubernetes' crictl and critest are of one module, as it is published.
cri_tools=sigs.k8s.io/cri-tools
cri_tools_version=v1.37.0

in_guest() { # MODULE ARGUMENTS: run the module in the guest, in place of this shell
    module=$1
    shift
    exec tests/vm/vm run --engine "$machine" --dir . --timeout 7200 --memory 3072 \
        --exclude .git --exclude .venv --exclude '.*_cache' --exclude .hypothesis \
        --exclude '*__pycache__' --exclude 'bundles/*/rootfs' --exclude build/wheels \
        --exclude build/lib --exclude build/conformance --exclude build/embedded \
        -- env ENGINES_MODULE="$module" sh tests/engines/in-guest "$@"
}
