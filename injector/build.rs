//! Builds the eBPF object, which the loader embeds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
    read::{Object as _, ObjectSection as _, ObjectSymbol as _, elf::ElfFile64},
};

/// What to tell someone whose machine cannot build the object.
const REMEDY: &str = "run `./scripts/setup build`, which installs what is missing";

/// The package, and the file that it becomes.
const OBJECT: &str = "injector-ebpf";

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir
        .parent()
        .context("the crate lies in a workspace")?;
    println!(
        "cargo:rerun-if-changed={}",
        root.join("injector-common/src").display()
    );
    if !runs("bpf-linker", &["--version"]) {
        bail!("bpf-linker is not installed: {REMEDY}");
    }
    let toolchain = find_toolchain()?;
    let ebpf_dir = root.join("injector-ebpf");
    let package = Package {
        name: OBJECT,
        root_dir: ebpf_dir.to_str().context("the path is UTF-8")?,
        ..Package::default()
    };
    // aya-build passes on what the inner cargo says as warnings; only real ones should come through.
    // SAFETY: the build script has one thread.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    // The profile's link-time optimisation is for user space: bpf-linker has its own.
    // SAFETY: as above.
    unsafe { env::set_var("CARGO_PROFILE_RELEASE_LTO", "false") };
    aya_build::build_ebpf([package], toolchain).with_context(|| {
        format!("the eBPF object does not build; if a tool is missing, {REMEDY}")
    })?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    strip(&out.join(OBJECT))?;
    locate_maps(&out.join(OBJECT), &out.join("maps.rs"))
}

/// Writes down where in the object each map is defined, but for those that are defined in BTF.
fn locate_maps(object: &Path, list: &Path) -> Result<()> {
    let bytes = fs::read(object)?;
    let file: ElfFile64 = ElfFile64::parse(bytes.as_slice())?;
    let section = file.section_by_name("maps").context("no maps")?;
    let (start, _) = section.file_range().context("the maps are not there")?;
    let maps = file
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()) && symbol.is_definition());
    let maps: Vec<(&str, u64)> = maps
        .map(|map| Ok((map.name()?, start + map.address())))
        .collect::<Result<_>>()?;
    fs::write(list, format!("&{maps:?}")).context("cannot write down where the maps are")
}

/// Takes out what only debuggers read: three quarters of the object. BTF, which is made of it, stays.
fn strip(path: &Path) -> Result<()> {
    let object = fs::read(path)?;
    let mut builder = Builder::read(object.as_slice())?;
    for section in builder.sections.iter_mut() {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug_") || name.starts_with(".rel.debug_");
    }
    builder.delete_orphans();
    // LLVM has the names of sections among those of symbols; they are written apart.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    fs::write(path, stripped).with_context(|| format!("cannot write {}", path.display()))
}

/// A toolchain that has the source of `core`: a rustup nightly, or the distribution's compiler,
/// which `scripts/setup` registers with rustup as `debian`.
fn find_toolchain() -> Result<Toolchain<'static>> {
    if !runs("rustup", &["--version"]) {
        // Without rustup, aya-build takes the cargo and rustc on PATH.
        require_core_source(&sysroot(&["rustc"]).with_context(|| format!("no rustc: {REMEDY}"))?)?;
        use_unstable_flags();
        return Ok(Toolchain::Nightly);
    }
    for name in ["nightly", "debian"] {
        if let Some(sysroot) = sysroot(&["rustup", "run", name, "rustc"])
            && require_core_source(&sysroot).is_ok()
        {
            if name != "nightly" {
                use_unstable_flags();
            }
            return Ok(Toolchain::Custom(name));
        }
    }
    bail!("no Rust toolchain with the source of `core` for the eBPF target: {REMEDY}")
}

fn require_core_source(sysroot: &Path) -> Result<()> {
    let source = sysroot.join("lib/rustlib/src/rust/library/core");
    if !source.exists() {
        bail!("{} does not exist: {REMEDY}", source.display());
    }
    Ok(())
}

/// `-Z build-std`, which the eBPF target needs, is accepted by a stable compiler under this
/// variable.
fn use_unstable_flags() {
    // SAFETY: the build script has one thread.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
}

fn sysroot(rustc: &[&str]) -> Option<PathBuf> {
    let output = Command::new(rustc[0])
        .args(&rustc[1..])
        .args(["--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .output()
        .is_ok_and(|output| output.status.success())
}
