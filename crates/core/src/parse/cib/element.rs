//! Elements of the information base and their attributes.

use roxmltree::Node;

use super::error::CibError;
use crate::ocf::parse_boolean;

pub(super) type Element<'a> = Option<Node<'a, 'a>>;

pub(super) fn child<'a>(node: Node<'a, 'a>, name: &str) -> Element<'a> {
    node.children().find(|child| child.has_tag_name(name))
}

pub(super) fn children<'a>(
    node: Element<'a>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'a>> {
    node.into_iter()
        .flat_map(|node| node.children())
        .filter(move |child| child.has_tag_name(name))
}

pub(super) fn required<'a>(
    node: Node<'a, 'a>,
    attribute: &'static str,
) -> Result<&'a str, CibError> {
    node.attribute(attribute).ok_or_else(|| CibError::Missing {
        element: node.tag_name().name().to_owned(),
        attribute,
    })
}

pub(super) fn value_error(
    node: Node<'_, '_>,
    attribute: &'static str,
    expected: &'static str,
) -> CibError {
    CibError::Value {
        element: node.tag_name().name().to_owned(),
        attribute,
        value: node.attribute(attribute).unwrap_or_default().to_owned(),
        expected,
    }
}

/// A number that is absent in a configuration that has never been changed.
pub(super) fn number(node: Node<'_, '_>, attribute: &'static str) -> Result<u64, CibError> {
    node.attribute(attribute).map_or(Ok(0), |text| {
        text.parse()
            .map_err(|_| value_error(node, attribute, "a number"))
    })
}

pub(super) fn optional_flag(
    node: Node<'_, '_>,
    attribute: &'static str,
) -> Result<Option<bool>, CibError> {
    node.attribute(attribute)
        .map(|text| parse_boolean(text).ok_or_else(|| value_error(node, attribute, "a boolean")))
        .transpose()
}
