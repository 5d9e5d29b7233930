"""Installs vmherd into its private virtual environment (`make venv`); docs/design/0002 says why each dependency is here."""

from setuptools import find_packages, setup

setup(
    name="vmherd",
    version="0.1.0",
    description="A pair of daemons that manage virtual machines on a farm",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(
        include=["common*", "plugins*", "provision*", "sim*", "vmclient*", "vmctl*", "vmmanager*", "vmprovision*"]
    ),
    package_data={"sim": ["traces/*.swf.gz"], "provision": ["files/*"]},
    install_requires=["configobj", "pynacl", "msgspec", "psutil", "python-daemon", "rich", "argcomplete"],
    extras_require={
        "test": ["hypothesis", "mypy", "pytest", "pytest-timeout", "pytest-xdist", "ruff", "types-psutil"],
        "fuzz": ["atheris"],
        "bench": ["matplotlib"],
        "plots": ["matplotlib"],  # of vmsim
        "libvirt": ["libvirt-python"],  # builds against libvirt-dev; the distribution's python3-libvirt does as well
    },
    entry_points={
        "console_scripts": [
            "vmbus = common.bus.vmbus.__main__:main",
            "vmmanager = vmmanager.__main__:main",
            "vmclient = vmclient.__main__:main",
            "vmctl = vmctl.__main__:main",
            "vmsim = sim.__main__:main",
            "vmprovision = vmprovision.__main__:main",
        ]
    },
)
