"""Methods to compare with: plug-ins like anyone's."""
