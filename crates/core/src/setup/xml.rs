//! A tree of XML elements that can be changed, for the configuration part of a CIB.
//!
//! The CIB keeps everything in attributes: text between elements and comments have no meaning in
//! it and are not kept.

use std::fmt::Write as _;

use roxmltree::{Document, Node};

/// One element with its attributes in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub tag: String,
    /// Name and value of each attribute.
    pub attributes: Vec<(String, String)>,
    /// The elements in it.
    pub children: Vec<Element>,
}

impl Element {
    /// An element without attributes.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            attributes: Vec::new(),
            children: Vec::new(),
        }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The same with one more child.
    #[must_use]
    pub fn and(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Reads a document.
    ///
    /// # Errors
    /// What the parser says. Document type declarations are refused.
    pub fn parse(text: &str) -> Result<Self, roxmltree::Error> {
        let document = Document::parse(text)?;
        Ok(Self::read(document.root_element()))
    }

    fn read(node: Node<'_, '_>) -> Self {
        let attributes = node
            .attributes()
            .map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()));
        Self {
            tag: node.tag_name().name().to_owned(),
            attributes: attributes.collect(),
            children: node
                .children()
                .filter(Node::is_element)
                .map(Self::read)
                .collect(),
        }
    }

    /// An attribute's value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The attribute `id`, or nothing where there is none.
    #[must_use]
    pub fn id(&self) -> &str {
        self.attribute("id").unwrap_or_default()
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.attributes.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.attributes.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, tag: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.tag == tag)
    }

    /// The first child of that name, made at the end where there is none.
    pub fn child_or_new(&mut self, tag: &str) -> &mut Element {
        let at = match self.children.iter().position(|child| child.tag == tag) {
            Some(at) => at,
            None => {
                self.children.push(Element::new(tag));
                self.children.len() - 1
            }
        };
        &mut self.children[at]
    }

    /// This element and everything in it.
    pub fn descendants(&self) -> Box<dyn Iterator<Item = &Element> + '_> {
        let below = self.children.iter().flat_map(Element::descendants);
        Box::new(std::iter::once(self).chain(below))
    }

    /// The element with that `id`, at any depth.
    pub fn by_id_mut(&mut self, id: &str) -> Option<&mut Element> {
        if self.id() == id {
            return Some(self);
        }
        self.children
            .iter_mut()
            .find_map(|child| child.by_id_mut(id))
    }

    /// The element as a document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        let _ = write!(text, "{:1$}<{2}", "", 2 * depth, self.tag);
        for (name, value) in &self.attributes {
            let _ = write!(text, " {name}=\"{}\"", escaped(value));
        }
        if self.children.is_empty() {
            text.push_str("/>\n");
            return;
        }
        text.push_str(">\n");
        for child in &self.children {
            child.write(text, depth + 1);
        }
        let _ = writeln!(text, "{:1$}</{2}>", "", 2 * depth, self.tag);
    }
}

/// A value as an attribute's text. White space other than the blank is written as a number, or a
/// parser would fold it into blanks (XML 1.0, 3.3.3).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            control if control.is_control() => {
                let _ = write!(text, "&#{};", u32::from(control));
            }
            plain => text.push(plain),
        }
    }
    text
}
